"""A hub that was just installed: nobody has an account, and what the demo makes is random and its owner's alone."""

import stat
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from devices.models import Device, Fleet, Membership, Token
from hub import demo

pytestmark = pytest.mark.django_db


def test_migrations_make_no_account_and_nothing_that_one_could_sign_in_with() -> None:
    assert [kind.objects.count() for kind in (User, Token, Device, Fleet, Membership)] == [0] * 5


def test_the_demos_password_is_random_and_another_one_in_each_data_folder(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        user, password = demo.ensure_user(folder)
        assert User.objects.get(username=user).check_password(password)
        made.append(password)
        User.objects.all().delete()  # the other folder has a database of its own
    assert made[0] != made[1]
    assert min(map(len, made)) >= 16


def test_the_demos_password_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = demo.ensure_user(tmp_path)
    assert demo.ensure_user(tmp_path) == first
    (kept,) = tmp_path.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert first[1] in kept.read_text()


def test_a_new_database_in_an_old_folder_gets_a_new_password(tmp_path: Path) -> None:
    first = demo.ensure_user(tmp_path)
    User.objects.all().delete()
    second = demo.ensure_user(tmp_path)
    assert second != first
    assert User.objects.get().check_password(second[1])
