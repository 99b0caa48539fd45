"""What the demo's options stand for, and which addresses it does not serve without being told that all is readable."""

import pytest

from hub import env, options


@pytest.mark.parametrize("bind", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_is_served_without_a_word(bind: str) -> None:
    assert options.refusal(bind, ()) == ""
    assert "HUB_PLAIN" not in options.environment(["--bind", bind])


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.7", "hub.example.org"])
@pytest.mark.parametrize("plain", [(), ("http",), ("mqtt",)])
def test_other_machines_are_not(bind: str, plain: tuple[str, ...]) -> None:
    assert "--plain" in options.refusal(bind, plain)


def test_they_are_once_it_was_said_that_passwords_may_be_read() -> None:
    told = options.environment(["--bind", "0.0.0.0", "--plain"])
    found = env.plain(told["HUB_PLAIN"])
    assert set(found) == set(env.PLAIN)
    assert options.refusal("0.0.0.0", found) == ""


def test_without_the_option_the_setting_stays_as_it_is() -> None:
    assert "HUB_PLAIN" not in options.environment(["--bind", "0.0.0.0"])
