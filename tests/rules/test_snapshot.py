"""What the rules see now: asked for at any time, it changes nothing and agrees with the alerts."""

import msgspec
import pytest

from rules.alerts import Alert, Level, Turn
from rules.engine import Engine
from rules.snapshot import Standing
from tests.rules import scenes
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


def test_it_survives_the_way_through_redis():
    engine = Engine(scenes.RULES, VENUES, scenes.COMPOSITES)
    for event in scenes.history(2):
        engine.feed(event)
    standing = engine.standing()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(standing), type=Standing) == standing
    assert {e.level for e in standing.episodes} <= set(Level)
