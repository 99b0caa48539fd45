"""Questions that come while others are asked are asked together, and each gets its own answer."""

import asyncio
from collections.abc import Sequence
from threading import Event

import pytest
from django.contrib.auth.models import User

from dashboard import permits, reads, together
from dashboard.protocol import Since
from dashboard.together import Together
from devices.errors import Refusal
from devices.models import Device, Token
from tests.django.live import PATIENCE_S, run, settle


class Oracle:
    """Doubles numbers; says what was asked at once, and waits when told so."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may = Event()
        self.may.set()

    def __call__(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.asked.append(list(numbers))
        assert self.may.wait(PATIENCE_S)
        if 13 in numbers:
            raise OSError("the database is away")
        return [Refusal("odd", "odd") if number % 2 else number * 2 for number in numbers]


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


async def many(asking: Together[int, int], *numbers: int) -> list[int | BaseException]:
    return await asyncio.gather(*map(asking.ask, numbers), return_exceptions=True)


async def test_what_comes_at_once_is_one_question_and_the_refused_are_refused_alone(oracle: Oracle) -> None:
    answers = await many(Together(oracle), 2, 3, 4)
    assert (answers[0], answers[2], str(answers[1])) == (4, 8, "odd")
    assert oracle.asked == [[2, 3, 4]]


async def test_what_comes_while_one_is_asked_is_the_next(oracle: Oracle) -> None:
    asking = Together(oracle)
    oracle.may.clear()
    first = asyncio.create_task(asking.ask(2))
    await settle()
    others = asyncio.create_task(many(asking, *range(0, 2 * together.AT_ONCE + 2, 2)))
    await settle()
    oracle.may.set()
    assert await first == 4
    assert await others == [number * 2 for number in range(0, 2 * together.AT_ONCE + 2, 2)]
    assert [len(asked) for asked in oracle.asked] == [1, together.AT_ONCE, 1]


async def test_a_fault_is_theirs_who_asked_with_it_and_the_next_are_answered(oracle: Oracle) -> None:
    asking = Together(oracle)
    assert [str(answer) for answer in await many(asking, 2, 13)] == ["the database is away"] * 2
    assert await asking.ask(2) == 4


async def test_one_who_goes_away_takes_no_answer_from_the_others(oracle: Oracle) -> None:
    asking = Together(oracle)
    oracle.may.clear()
    gone, stays = (asyncio.create_task(asking.ask(number)) for number in (2, 4))
    await settle()
    gone.cancel()
    await settle()
    oracle.may.set()
    assert await stays == 8
    assert gone.cancelled()


@pytest.mark.django_db(transaction=True)
async def test_several_begin_where_each_of_them_stands(
    alice: User, charlie: User, pump: Device, kettle: Device
) -> None:
    asked = [
        reads.Asked(alice, [pump.key], None),
        reads.Asked(alice, [pump.key, kettle.key], None),  # which is another fleet's
        reads.Asked(charlie, [kettle.key], None),
        reads.Asked(charlie, [pump.key, "no such"], None),
        reads.Asked(alice, [pump.key], Since(cursor={pump.key: 5})),
    ]
    found = await run(reads.starts_of, asked)
    for one, begun in zip(asked, found, strict=True):
        if len(one.keys) > 1:
            assert isinstance(begun, Refusal)
        else:
            assert begun == await run(reads.starts, one.user, one.keys, one.since)


@pytest.mark.django_db(transaction=True)
async def test_several_tokens_let_in_whom_each_of_them_is_of(alice: User, bob: User) -> None:
    def secrets() -> list[str]:
        return [str(Token.objects.create(user=user)[1]) for user in (alice, bob)]

    of_alice, of_bob = await run(secrets)
    passes = await run(permits.by_tokens, [of_bob, "wrong", of_alice, "ä", "", of_bob])
    assert [found and found.user for found in passes] == [bob, None, alice, None, None, bob]
    await User.objects.filter(pk=bob.pk).aupdate(is_active=False)
    assert await run(permits.by_tokens, [of_bob]) == [None]
