"""What holds for every rule and composite, whatever the market and the feeds do."""

from collections.abc import Sequence
from functools import cache
from random import Random

import msgspec
from pytest import mark

from rules.alerts import ALL, Alert, AlertOrNotice, Notice, Turn
from rules.judge import COMPOSITE
from rules.metrics import metric
from rules.rule import Row, Rule
from streams.durations import SECOND
from streams.events import AnyEvent, FeedState, Kind, Tick, kind_of
from tests.rules.scenes import COMPOSITES, RULES, VENUES, down, feed_all, history, loaded, warm

SEEDS = range(15)


class Lines:
    """Which feeds are up, told naively."""

    def __init__(self) -> None:
        self._up: dict[tuple[str, Kind, str], bool] = {}

    def hear(self, event: AnyEvent) -> None:
        if isinstance(event, Tick):
            return
        kind = event.kind if isinstance(event, FeedState) else kind_of(event)
        if isinstance(event, FeedState) and event.symbol == "*":
            for key in [k for k in self._up if k[:2] == (event.venue, kind)]:
                self._up[key] = event.up
        up = event.up if isinstance(event, FeedState) else True
        self._up[event.venue, kind, event.symbol] = up

    def up(self, venue: str, kind: Kind, asset: str) -> bool:
        symbols = ["*"] if (venue, kind, f"{asset}USDT") not in self._up else [f"{asset}USDT"]
        return any(self._up.get((venue, kind, symbol), True) for symbol in symbols)


@cache
def played(seed: int) -> tuple[tuple[tuple[AnyEvent, tuple[AlertOrNotice, ...]], ...], bytes]:
    """Each event with what it caused, and the state in the end."""
    engine = loaded(warm()[0])
    story = tuple((event, tuple(engine.feed(event))) for event in history(seed))
    return story, engine.dump()


def alerts_of(seed: int) -> list[Alert]:
    return [
        output for _, caused in played(seed)[0] for output in caused if isinstance(output, Alert)
    ]


@mark.parametrize("seed", SEEDS)
def test_no_alert_is_made_of_a_feed_that_is_down(seed):
    lines = Lines()
    for event, caused in played(seed)[0]:
        lines.hear(event)
        for output in caused:
            if not isinstance(output, Alert) or output.unit == COMPOSITE or output.asset == ALL:
                continue
            (kind,) = metric(output.metric).kinds
            if output.metric != "funding_8h_pct":  # what was charged stays a fact
                assert all(lines.up(venue, kind, output.asset) for venue in output.venues)
            assert not set(output.venues) & set(output.missing)


def visible(alerts: Sequence[AlertOrNotice]) -> list[Alert]:
    """What may be posted."""
    return [a for a in alerts if isinstance(a, Alert) and a.post and not a.hidden_by]


def check_episodes(outputs: Sequence[AlertOrNotice], reloaded: bool = False) -> None:
    """Levels are never skipped downward, and nothing ends for readers that did not begin.

    Under changed rules (``reloaded``) an episode may rise without a word.
    """
    levels: dict[tuple[str, str, int], int] = {}
    shown: set[tuple[str, str, int]] = set()
    for output in outputs:
        if not isinstance(output, Alert):
            continue
        episode = output.rule, output.instrument or output.asset, output.opened_at
        if output.turn is Turn.OPEN:
            assert episode not in levels
        elif output.turn is Turn.UP:
            assert output.level > levels[episode]
        else:
            assert output.level == levels[episode] or (reloaded and output.level > levels[episode])
        levels[episode] = output.level
        if output.post and not output.hidden_by:
            assert output.turn is not Turn.CLOSE or episode in shown
            shown.add(episode)


@mark.parametrize("seed", SEEDS)
def test_nothing_ends_that_did_not_begin_and_no_level_goes_down(seed):
    check_episodes(alerts_of(seed))


@mark.parametrize("seed", SEEDS)
def test_what_is_hidden_is_told_by_a_composite_that_fires_or_just_did(seed):
    specs = {spec.name: spec for spec in COMPOSITES}
    firing: dict[tuple[str, str], int | None] = {}
    alerts = alerts_of(seed)
    opened = {(a.rule, a.asset, a.seen) for a in alerts if a.unit == COMPOSITE}
    for alert in alerts:
        if alert.unit == COMPOSITE:
            firing[alert.rule, alert.asset] = alert.seen if alert.turn is Turn.CLOSE else None
        elif alert.hidden_by:
            spec, key = specs[alert.hidden_by], (alert.hidden_by, alert.asset)
            assert alert.family in spec.hides
            ended = firing.get(key, -1)
            just_now = (*key, alert.seen) in opened
            assert just_now or ended is None or alert.seen - ended < spec.hold


@mark.parametrize("seed", SEEDS)
def test_with_all_feeds_down_nothing_opens_and_nothing_closes(seed):
    engine = loaded(played(seed)[1])
    now = history(seed)[-1].seen + SECOND
    dark = [*down(VENUES, now), *(Tick(seen=now + n * SECOND) for n in range(1, 1200))]
    after = feed_all(engine, dark)
    assert all(isinstance(output, Notice) for output in after)
    assert {notice.up for notice in after} <= {False}


def moved(rule: Rule, dice: Random) -> Rule:
    """The same rule with its levels a little elsewhere."""

    def row(old: Row) -> Row:
        sign = 1 if rule.fires == "above" else -1
        span = sign * (max(old.levels.values(), key=abs) - old.clear) + 1
        by = span * dice.uniform(-0.2, 0.3)
        levels = {level: x + sign * by for level, x in old.levels.items()}
        return msgspec.structs.replace(old, levels=levels, clear=old.clear + sign * by)

    return msgspec.structs.replace(
        rule,
        rows={asset: row(old) for asset, old in rule.rows.items()},
        others=None if rule.others is None else row(rule.others),
    )


@mark.parametrize("seed", SEEDS)
def test_all_that_holds_through_reloads_of_changed_rules(seed):
    events, dice = history(seed), Random(-seed)
    engine, outputs = loaded(warm()[0]), list[AlertOrNotice]()
    cuts = sorted(dice.sample(range(20, len(events), 20), 4))
    for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
        outputs += feed_all(engine, events[first:last])
        rules = [moved(rule, dice) for rule in RULES]
        # a rule is renamed, a condition is dropped, and both come back
        if dice.random() < 0.5:
            rules[4] = msgspec.structs.replace(rules[4], name="new", family="liq_above")
        composites = COMPOSITES[dice.randint(0, 1) :]
        engine = loaded(engine.dump(), rules, composites)
    check_episodes(outputs, reloaded=True)
    assert len({output.id for output in outputs}) == len(outputs)
    now = events[-1].seen + SECOND
    dark = [*down(VENUES, now), *(Tick(seen=now + n * SECOND) for n in range(1, 300))]
    assert visible(feed_all(engine, dark)) == []
