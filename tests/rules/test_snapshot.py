"""What the rules see now: asked for at any time, it changes nothing and agrees with the alerts."""

import msgspec
import pytest
from pytest import approx

from rules.alerts import Alert, Level, Turn
from rules.engine import Engine
from rules.snapshot import Standing
from streams.durations import SECOND
from streams.events import Kind
from tests.rules import scenes
from tests.rules.facts import START, depth, feed, oi, price
from tests.rules.mix import VENUES


@pytest.mark.parametrize("seed", range(3))
def test_asking_changes_nothing_and_agrees_with_what_was_said(seed: int):
    asked = Engine(scenes.RULES, VENUES, scenes.COMPOSITES)
    quiet = Engine(scenes.RULES, VENUES, scenes.COMPOSITES)
    open_now: dict[tuple[str, str], Alert] = {}
    met = 0
    for n, event in enumerate(scenes.history(seed)):
        outputs = asked.feed(event)
        assert outputs == quiet.feed(event)
        for alert in outputs:
            if isinstance(alert, Alert):
                key = alert.rule, alert.instrument or alert.asset
                open_now[key] = alert
                if alert.turn is Turn.CLOSE:
                    del open_now[key]
        if n % 97 == 0:
            standing = asked.standing()
            open_episodes = {(e.rule, e.instrument or e.asset): e for e in standing.episodes}
            assert open_episodes.keys() <= open_now.keys()
            for key, episode in open_episodes.items():
                last = open_now[key]
                assert (episode.opened_at, episode.level) == (last.opened_at, last.level)
                assert episode.turn is Turn.WORSE and not episode.post
            met += len(open_episodes)
    assert met > 0
    assert asked.dump() == quiet.dump()


def test_values_are_those_that_alerts_carry():
    engine = Engine(scenes.RULES, VENUES, scenes.COMPOSITES)
    met = 0
    for event in scenes.history(1):
        for alert in engine.feed(event):
            if isinstance(alert, Alert) and alert.metric != "composite":
                standing = engine.standing()
                [value] = [
                    v for v in standing.values
                    if (v.metric, v.asset, v.instrument)
                    == (alert.metric, alert.asset, alert.instrument)
                ]  # fmt: skip
                assert (value.value, value.unit, value.missing) == (
                    alert.value, alert.unit, alert.missing,
                )  # fmt: skip
                assert value.facts == alert.facts
                met += 1
    assert met > 3


def test_what_cannot_be_said_is_listed_without_a_value():
    engine = Engine(scenes.RULES, VENUES)
    for event in scenes.history(1)[:50]:
        engine.feed(event)
    values = engine.standing(with_facts=False).values
    unknown = [v for v in values if v.value is None]
    assert unknown
    assert all(v.floor_musd is None and v.facts is None for v in values if v in unknown)
    assert all(v.facts is None for v in values)


def test_what_cannot_be_compared_yet_has_what_there_is_now():
    """Of those that are heard, without what may be counted on both sides; one that falls silent is
    not there."""
    rules = [
        scenes.quick_rule("oi_net_1h_pct", "below", -1, alert=-5),
        scenes.quick_rule("depth_100bp_pct_of_recent", "below", 80, alert=50),
    ]
    engine = Engine(rules, VENUES)
    for venue in VENUES:
        for kind in (Kind.OPEN_INTEREST, Kind.DEPTH):
            engine.feed(feed(venue, kind, START, True))
    for n in range(30):
        for place, venue in enumerate(VENUES):
            now = START + n * 2 * SECOND
            engine.feed(price(venue, now, 100.0))
            engine.feed(oi(venue, now, 10 + place, 100.0 * (10 + place), one_side=place < 2))
            engine.feed(depth(venue, now, 1e6 * (1 + place)))
    places = range(len(VENUES))

    def present() -> dict[str, float | None]:
        values = engine.standing().values
        assert all(value.value is None for value in values)
        return {value.metric: value.present_usd for value in values}

    books = sum(1e6 * (1 + place) for place in places)
    assert present() == {"oi_net_1h_pct": 2_100.0, "depth_100bp_pct_of_recent": approx(books)}
    assert {v.present_usd for v in engine.standing(with_facts=False).values} == {None}
    engine.feed(feed(VENUES[0], Kind.OPEN_INTEREST, now + 1, False))
    engine.feed(feed(VENUES[0], Kind.DEPTH, now + 1, False))
    assert present() == {"oi_net_1h_pct": 1_100.0, "depth_100bp_pct_of_recent": approx(books - 1e6)}


def test_it_survives_the_way_through_redis():
    engine = Engine(scenes.RULES, VENUES, scenes.COMPOSITES)
    for event in scenes.history(2):
        engine.feed(event)
    standing = engine.standing()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(standing), type=Standing) == standing
    assert {e.level for e in standing.episodes} <= set(Level)
