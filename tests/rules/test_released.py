"""What released versions saved is taken over by this one: the engine's dump."""

import zlib
from pathlib import Path

import msgspec
import pytest

from bot.config import load
from rules import state
from rules.alerts import Level
from rules.engine import Engine
from streams.events import Tick
from tests.released import END, FALL, FOLDER, story
from tests.rules.scenes import loaded, warm

SETTINGS = load(Path(__file__).parents[2] / "config.toml", {})


def dump(version: int) -> bytes:
    return zlib.decompress((FOLDER / f"engine-{version}.bin").read_bytes())


def engine() -> Engine:
    venues = [venue.name for venue in SETTINGS.venues]
    return Engine(SETTINGS.rules, venues, SETTINGS.composites)


def upgraded(version: int) -> Engine:
    this = engine()
    assert this.load(dump(version)) == ""
    return this


def values(this: Engine) -> dict[str, float | None]:
    seen = this.standing(with_facts=False).values
    return {value.metric: value.value for value in seen if value.asset == "BTC"}


def test_the_last_released_format_is_taken_over_whole() -> None:
    this = upgraded(2)
    known = values(this)
    assert known["oi_net_1h_pct"] == pytest.approx(-10)
    assert known["oi_net_24h_pct"] == pytest.approx(-10)
    assert known["price_24h_pct"] == pytest.approx(-2, abs=0.01)
    assert known["depth_25bp_pct_of_recent"] == pytest.approx(20)
    assert known["depth_25bp_pct_of_normal"] == pytest.approx(20)  # seven days observed
    assert known["liq_10m_musd"] == pytest.approx(2.5)
    assert known["funding_8h_pct"] == pytest.approx(0.01)
    assert {alert.rule: alert.level for alert in this.standing().episodes} == {
        "oi_total_drop": Level.CRITICAL,
        "oi_drop:15m": Level.CRITICAL,
        "oi_drop:1h": Level.CRITICAL,
        "oi_drop:24h": Level.ALERT,
        "depth_thin:25bp": Level.CRITICAL,
    }


def test_the_first_format_is_migrated() -> None:
    """It had one price an asset, no hours of day, and a rule of its own for each window."""
    this = upgraded(1)
    known = values(this)
    assert known["oi_net_15m_pct"] == pytest.approx(-5.512, abs=0.001)
    assert known["oi_net_1h_pct"] == pytest.approx(-10)
    assert known["price_1h_pct"] == pytest.approx(-2, abs=0.01)
    assert known["depth_25bp_pct_of_recent"] == pytest.approx(20)
    assert known["liq_10m_musd"] == pytest.approx(2.5)
    assert known["funding_8h_pct"] == pytest.approx(0.01)
    episodes = {alert.rule: alert for alert in this.standing().episodes}
    assert set(episodes) == {"oi_drop:15m", "oi_drop:1h", "depth_thin:25bp"}
    assert all(FALL < alert.opened_at < FALL + 20 * 60_000 for alert in episodes.values())


@pytest.mark.parametrize("version", [1, 2])
def test_after_an_upgrade_nothing_is_told_twice(version: int) -> None:
    """What is open goes on, and opens no second time."""
    this = upgraded(version)
    open_before = {alert.rule for alert in this.standing().episodes}
    last = [event for event in story() if event.seen >= END - 60_000]
    later = [msgspec.structs.replace(event, seen=event.seen + 60_000) for event in last]
    outputs = [alert for event in later for alert in this.feed(event)]
    assert [alert.id for alert in outputs if getattr(alert, "rule", "") in open_before] == []


def test_what_this_version_writes_it_reads() -> None:
    this = upgraded(1)
    again = engine()
    assert again.load(this.dump()) == ""
    assert again.dump() == this.dump()


def changed(dumped: bytes, change) -> bytes:
    plain = msgspec.msgpack.decode(dumped)
    change(plain)
    return msgspec.msgpack.encode(plain)


def test_what_does_not_fit_costs_itself_alone() -> None:
    def spoil(plain: list) -> None:
        plain[4] = "feeds of another shape"
        plain[5][0] = ["a watch", "of", "another", "shape"]
        plain[5][1][5] = "an episode of another shape"
        plain[3][1][0][1][0][8]["oi.3600000"] = [b"123"]
        plain[3][1][0][1][0][7] = [b""]

    this = engine()
    lost = this.load(changed(dump(2), spoil))
    assert lost == "the state of feeds (1), episodes (2), what was measured (2)"
    known = values(this)
    assert known["depth_25bp_pct_of_normal"] == pytest.approx(20)
    assert known["oi_net_24h_pct"] == pytest.approx(-10)
    this.feed(Tick(seen=END))
    assert "depth_thin:25bp" in {alert.rule for alert in this.standing().episodes}


def test_a_dump_of_a_later_version_is_read_as_far_as_it_goes() -> None:
    """After an upgrade that was taken back."""

    def later(plain: list) -> None:
        plain[0] = state.VERSION + 1
        plain.append("something new")
        plain[5][0].append("something new")

    this = engine()
    assert this.load(changed(upgraded(2).dump(), later)) == ""
    assert values(this)["oi_net_1h_pct"] == pytest.approx(-10)


@pytest.mark.parametrize("dumped", [b"", b"\x90", b"\x91\x02", b"\x91\x01", b"\xa1x", b"\x00"])
def test_what_nothing_can_be_read_of_is_refused(dumped: bytes) -> None:
    this = loaded(warm()[0])
    with pytest.raises(ValueError, match="not readable"):
        this.load(dumped)
    assert this.dump() == warm()[0]


def without_levels(plain: list) -> None:
    """As it was written before what is believed of open interest was remembered."""
    for _asset, markets, *_memos in plain[3][1]:
        for market in markets:
            market[10] = [[], [], 0, None]


@pytest.mark.parametrize("away", [10_000, 100_000])
def test_open_interest_is_known_at_once_after_an_upgrade(away: int) -> None:
    this = engine()
    assert this.load(changed(upgraded(2).dump(), without_levels)) == ""
    assert values(this)["oi_net_1h_pct"] == pytest.approx(-10)
    last = [event for event in story() if event.seen >= END - 60_000]
    for event in last:
        this.feed(msgspec.structs.replace(event, seen=event.seen + 60_000 + away))
        assert values(this)["oi_net_1h_pct"] is not None


def test_a_level_that_is_not_fresh_does_not_come_back_with_an_upgrade() -> None:
    def stale(plain: list) -> None:
        without_levels(plain)
        plain[1] += 180_001

    this = engine()
    assert this.load(changed(upgraded(2).dump(), stale)) == ""
    assert values(this)["oi_net_1h_pct"] is None
