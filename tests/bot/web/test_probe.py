"""What a look at Redis knows by looks before it."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from bot.status import Unheard
from bot.web import probe
from bot.web.probe import StatusProbe
from streams.bus.health import Health
from tests.bot.role_fixtures import settings
from tests.bot.web import cases


class World:
    """A server and a steady clock: both go on when told; the server's may step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steady_ms = 5_000_000
        self.server_ms: int | None = 1_790_000_000_000
        self.missing: set[str] = set()
        monkeypatch.setattr(probe.status, "collect", self.collect)
        monkeypatch.setattr(probe, "_KEEP_S", -1.0)

    async def collect(self, _: Redis) -> dict[str, Any]:
        report = cases.status(**dict.fromkeys(self.missing)) | {"heard_s": {}}
        report["redis"]["time_ms"] = self.server_ms
        return report

    def wait(self, seconds: int, step_s: int = 0) -> None:
        self.steady_ms += seconds * 1000
        if self.server_ms is not None:
            self.server_ms += (seconds + step_s) * 1000


@pytest.mark.parametrize(
    ("seconds", "step_s", "unheard", "words"),
    [
        (40, 0, Unheard(40.0, True), "rules not running (nothing heard for 30 s)"),
        (40, 3_600, Unheard(0.0, True), "rules reports anew in a moment: Redis was restarted,"),
        (40, -3_600, Unheard(0.0, True), "rules reports anew in a moment"),
        (5, 0, Unheard(5.0, True), "rules reports anew in a moment"),
    ],
)
async def test_a_report_that_is_gone_is_told_from_a_role_that_is(
    tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch,
    seconds: int, step_s: int, unheard: Unheard, words: str,
) -> None:  # fmt: skip
    world = World(monkeypatch)
    looking = StatusProbe(settings(tmp_path), redis, Health(), lambda: world.steady_ms * 10**6)
    assert (await looking.look())[0]["unheard"] == {}
    world.wait(seconds, step_s)
    world.missing.add("rules")
    reported, _ = await looking.look()
    assert reported["unheard"] == {"rules": unheard}
    assert looking.checks(reported)[0].reason.startswith(words)
    world.wait(40)
    assert (await looking.look())[0]["unheard"]["rules"].seconds >= 40


async def test_at_the_start_nobody_is_called_dead(
    tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch)
    world.server_ms, world.missing = None, {"streams", "rules", "bot"}
    looking = StatusProbe(settings(tmp_path), redis, Health(), lambda: world.steady_ms * 10**6)
    words = ["bot has not reported yet", "bot not running (nothing heard for 30 s)"]
    for expected in words:
        reported, _ = await looking.look()
        assert looking.checks(reported)[0].reason.endswith(expected)
        world.wait(31)
