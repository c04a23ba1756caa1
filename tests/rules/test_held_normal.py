"""What is usual does not learn from the crash it judges; what is known of open episodes."""

import msgspec
from pytest import approx, mark, raises

from rules.alerts import Alert, Turn
from rules.engine import Engine
from rules.metrics.depth import HELD_MOST, RECENT, DepthSamples
from rules.rule import Rule
from rules.snapshot import Standing
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import AnyEvent, Kind, Tick
from tests.rules.facts import START, depth, feed, liquidation
from tests.rules.scenes import of_market, quick_rule, run

THIN = msgspec.structs.replace(
    quick_rule("depth_100bp_pct_of_recent", "below", 85, alert=55, watch=70), clear_for=10 * MINUTE
)


def books(since: int, minutes: float, usd: float, every: int = 10 * SECOND) -> list[AnyEvent]:
    """Samples of one book, with Ticks between them."""
    events: list[AnyEvent] = []
    for now in range(since, since + round(minutes * MINUTE), every):
        events += [depth("binance", now, usd), Tick(seen=now + 5 * SECOND)]
    return events


class Crashed:
    """Two hours of 100, then three hours of 20: what a baseline of four hours would take over."""

    def __init__(self, rules: tuple[Rule, ...] = (THIN,), hours: float = 3) -> None:
        self.engine = Engine(rules, ("binance",))
        self.engine.feed(feed("binance", Kind.DEPTH, START, True))
        self.now = START
        assert self.play(120, 100e6) == []
        assert next(a.turn for a in self.play(60 * hours, 20e6)) is Turn.OPEN

    def play(self, minutes: float, usd: float) -> list[Alert]:
        alerts = run(self.engine, books(self.now, minutes, usd))
        self.now += round(minutes * MINUTE)
        return alerts

    def value(self) -> float | None:
        (value,) = self.engine.standing().values
        return value.value


@mark.parametrize("hours", [3, 9])
def test_seventy_per_cent_of_what_was_before_the_crash_is_not_back(hours: float):
    crashed = Crashed(hours=hours)
    assert crashed.play(60, 70e6) == []
    assert crashed.value() == approx(70)
    (closed,) = crashed.play(15, 90e6)
    assert (closed.turn, closed.value) == (Turn.CLOSE, approx(90))
    assert closed.facts.normal_usd == approx(100e6)
    # and what follows is measured from the same: the crash was not learned
    crashed.play(31, 100e6)
    assert crashed.value() == approx(100)
    assert next(a.turn for a in crashed.play(2, 60e6)) is Turn.OPEN


def test_a_book_that_stays_thin_for_a_day_has_a_new_normal():
    crashed = Crashed(hours=23.5)
    assert crashed.value() == approx(20)
    alerts = crashed.play(90, 20e6)
    assert crashed.value() == approx(100)
    assert [a.turn for a in alerts] == [Turn.CLOSE]


def test_a_restart_within_the_episode_changes_nothing():
    through, broken = Crashed(hours=1), Crashed(hours=1)
    again = Engine((THIN,), ("binance",))
    again.load(broken.engine.dump())
    broken.engine = again
    assert broken.play(120, 70e6) == through.play(120, 70e6)
    assert broken.engine.dump() == through.engine.dump()
    assert broken.value() == approx(70)


def test_a_rule_that_is_gone_holds_nothing():
    crashed = Crashed(hours=1)
    other = msgspec.structs.replace(THIN, name="other", family="other")
    again = Engine((other,), ("binance",))
    again.load(crashed.engine.dump())
    crashed.engine = again
    # nothing is open any more, so what follows is learned: first a new episode, its normal the old
    assert next(a.turn for a in crashed.play(5, 20e6)) is Turn.OPEN
    quiet = msgspec.structs.replace(THIN, name="quiet", fires="above")
    crashed.engine = Engine((quiet,), ("binance",))
    crashed.engine.load(again.dump())
    crashed.play(240, 50e6)
    assert crashed.value() == approx(100)


def fed(book: DepthSamples, since: int, minutes: int, usd: float) -> int:
    for now in range(since, since + minutes * MINUTE, 10 * SECOND):
        book.add(now, usd, usd / 2)
    return since + minutes * MINUTE


def test_the_normal_is_held_until_the_last_episode_is_over():
    book = DepthSamples()
    now = fed(book, START, 60, 100.0)
    book.hold(1, True, now)
    book.hold(2, True, now)
    now = fed(book, now, 240, 10.0)
    book.hold(1, False, now)
    assert book.recent(now) == 100
    book.hold(2, False, now)
    # it stands in until there is enough of the time since
    assert book.recent(now) == 100
    now = fed(book, now, 32, 80.0)
    assert book.recent(now) == 80


def test_nothing_is_held_where_nothing_is_known():
    book = DepthSamples()
    book.hold(1, True, START)
    now = fed(book, START, 40, 100.0)
    assert book.recent(now) == 100
    book.hold(1, False, now)
    assert book.recent(now) == 100


def test_a_held_normal_has_an_end():
    book = DepthSamples()
    now = fed(book, START, 60, 100.0)
    book.hold(1, True, now)
    assert book.recent(now + HELD_MOST - 1) == 100
    assert book.recent(now + HELD_MOST + RECENT) is None
    book = DepthSamples()
    now = fed(book, START, 60, 100.0)
    book.hold(1, True, now)
    book.hold(1, False, now)
    assert book.recent(now + RECENT) is None


def test_what_is_held_is_dumped_and_a_book_of_an_earlier_version_is_loaded():
    book, again, old = DepthSamples(), DepthSamples(), DepthSamples()
    now = fed(book, START, 60, 100.0)
    book.hold(2, True, now)
    fed(book, now, 60, 10.0)
    dumped = book.dump()
    again.load(dumped)
    assert again.dump() == dumped
    assert again.recent(now + HOUR) == 100
    old.load([*dumped[:5], *dumped[7:]])
    assert old.recent(now) == 100
    assert old.recent(now + HOUR + RECENT) is None
    with raises(ValueError, match="cut short"):
        DepthSamples().load(dumped[:8])


# ── what is known of open episodes ──


def test_an_episode_that_cannot_be_judged_is_known_by_what_was_seen_last():
    crashed = Crashed(hours=1)
    crashed.play(2, 35e6)
    live = crashed.engine.standing()
    assert live.stale == ()
    (open_now,) = live.episodes
    assert (open_now.value, open_now.extreme) == (approx(35), approx(20))
    seen_at = crashed.now
    run(crashed.engine, [Tick(seen=seen_at + n * SECOND) for n in range(600)])
    dark = crashed.engine.standing()
    assert dark.episodes == ()
    (last,) = dark.stale
    assert (last.value, last.extreme, last.extreme_at) == (
        approx(35), approx(20), open_now.extreme_at,
    )  # fmt: skip
    assert seen_at - MINUTE < last.at < seen_at + MINUTE
    assert (last.seen, last.facts, last.post) == (dark.seen, None, False)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(dark), type=Standing) == dark


def test_what_is_open_is_asked_for_alone():
    crashed = Crashed(hours=1)
    standing, open_episodes = crashed.engine.standing(), crashed.engine.open_episodes()
    assert (open_episodes.seen, open_episodes.episodes, open_episodes.stale) == (
        standing.seen, standing.episodes, standing.stale,
    )  # fmt: skip
    assert len(open_episodes.episodes) == 1


def test_since_when_something_is_watched():
    total = of_market("total", quick_rule("oi_total_net_2m_pct", "below", -1, alert=-4))
    engine = Engine((THIN, total), ("binance",))
    assert all(value.since == 0 for value in engine.standing().values)
    engine.feed(Tick(seen=START))
    engine.feed(depth("binance", START + MINUTE, 1e6))
    since = {v.metric: v.since for v in engine.standing().values}
    assert since == {THIN.metric: START + MINUTE, total.metric: START}
    # a restart changes nothing, and a rule that is new has watched since it is there
    engine.feed(Tick(seen=START + HOUR))
    burst = quick_rule("liq_2m_musd", "above", 1, watch=2)
    again = Engine((THIN, total, burst), ("binance",))
    again.load(engine.dump())
    again.feed(liquidation("binance", START + HOUR + MINUTE, 1e6))
    assert {v.metric: v.since for v in again.standing().values} == {
        **since, burst.metric: START + HOUR,
    }  # fmt: skip
