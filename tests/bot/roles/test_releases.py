"""The note before an announcement: once in each chat, without a sound, whatever happens."""

import msgspec
import pytest
from redis.asyncio import Redis

from bot.config import Settings, load
from bot.config.chats import ChatSettings, OperatorSettings, WebhookSettings
from bot.delivery.pace import NO_LIMITS
from bot.delivery.sinks import Sinks
from bot.roles.bot import BotRole
from rules.alerts import NearRelease, ReleaseKind
from rules.snapshot import OpenEpisodes
from streams.bus.connection import Keys
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms
from tests.bot.roles.test_bot import CONFIG, OPERATORS, Hand, live_until
from tests.bot.sinks import Numbered

AT: Ms = 1_791_034_200_000  # 3 Oct 2026 13:30 UTC
CPI = NearRelease(kind=ReleaseKind.CPI, at=AT)
FOMC = NearRelease(kind=ReleaseKind.FOMC, at=AT + 4 * HOUR)


class Bench:
    """The role with a clock moved by hand, and what its chats have got."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis, self.settings = redis, settings
        self.clock, self.sink = Hand(), Numbered()

    async def at(self, now: Ms, *releases: NearRelease, age: Ms = 0) -> dict[int, list[str]]:
        """One life of the role at ``now``, with what the rules say of calendars; what its chats
        have got until then."""
        self.clock.at = now
        seen = OpenEpisodes(seen=now - age, episodes=(), releases=releases)
        await self.redis.set(Keys().episodes, msgspec.msgpack.encode(seen))
        role = BotRole(
            self.settings, self.redis, Sinks(self.sink), clock=self.clock, limits=NO_LIMITS
        )
        looked, look = 0, role._post_notes

        async def counted() -> None:
            nonlocal looked
            await look()
            looked += role._prices is not None

        role._post_notes = counted
        await live_until(role, lambda: looked >= 3)
        return {
            chat: [message.plain for message in messages if message is not None]
            for chat, messages in self.sink.chats.items()
        }


@pytest.fixture
def bench(redis: Redis) -> Bench:
    plain = load(CONFIG, {"TELEGRAM_BOT_TOKEN": "1:x"})
    settings = msgspec.structs.replace(
        plain,
        operators=OperatorSettings(chat_id=OPERATORS),
        chats=(ChatSettings(id=-1), ChatSettings(id=-2, language="ja")),
    )
    return Bench(redis, settings)


NOTES = {
    -1: ["⚪ US inflation (CPI): 13:30 UTC."],
    -2: ["⚪ 米消費者物価指数（CPI）：13:30 UTC。"],
}


async def test_each_chat_gets_it_once_an_hour_before(bench: Bench):
    assert await bench.at(AT - HOUR - 1, CPI, FOMC) == {}
    for before in (HOUR, 30 * MINUTE, 1):
        assert await bench.at(AT - before, CPI, FOMC) == NOTES
    assert await bench.at(AT + 1, CPI, FOMC) == NOTES
    assert all(message.silent for message in bench.sink.messages)
    notes = await bench.at(FOMC.at - MINUTE, CPI, FOMC)
    assert notes[-1][1:] == ["⚪ Fed rate decision (FOMC): 17:30 UTC."]


async def test_a_calendar_that_changes_and_a_clock_that_steps_tell_none_again(bench: Bench):
    await bench.at(AT - HOUR, CPI)
    assert await bench.at(AT - 50 * MINUTE) == NOTES  # withdrawn
    moved = msgspec.structs.replace(CPI, at=AT + DAY)
    assert await bench.at(AT + DAY - MINUTE, moved) == NOTES
    again = await bench.at(AT - 3 * HOUR, CPI)
    again = await bench.at(AT - HOUR, CPI)
    assert (again[-1], again[-2]) == (NOTES[-1], NOTES[-2])


async def test_one_that_comes_late_and_one_that_nobody_vouches_for(bench: Bench):
    assert await bench.at(AT + 1, CPI) == {}
    assert await bench.at(AT - MINUTE, CPI, age=2 * HOUR) == {}
    assert await bench.at(AT - MINUTE, CPI, age=20 * MINUTE) == NOTES


async def test_none_is_wanted(bench: Bench):
    bench.settings = msgspec.structs.replace(bench.settings, release_note=None)
    assert await bench.at(AT - MINUTE, CPI) == {}
    bench.settings = msgspec.structs.replace(
        bench.settings,
        release_note=HOUR,
        webhooks=(WebhookSettings(name="desk", url="http://127.0.0.1:9/"),),
    )
    assert await bench.at(AT - MINUTE, CPI) == NOTES  # programs get alerts alone
