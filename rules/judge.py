"""Readings → turns of episodes and composites → alerts. Pure.

Live values and recorded ones are judged by the same code.
"""

from collections.abc import Callable, Sequence

from rules.alerts import (
    ALL,
    Alert,
    AlertOrNotice,
    CascadeFacts,
    EpisodeKey,
    Level,
    Link,
    Liquidated,
    Record,
    Turn,
)
from rules.composite import ConditionMatch, Worst
from rules.episode import Transition, settle_in, step
from rules.metric import Reading, live_share
from rules.metrics.liquidation import liquidated
from rules.records import records
from rules.watchlist import CompositeInstance, RuleInstance
from streams.durations import HOUR
from streams.events import Ms

COMPOSITE = "composite"
"""Metric and unit of a composite's alert."""


def alert(
    instance: RuleInstance,
    step: Transition,
    number: int,
    reading: Reading,
    now: Ms,
    at: Ms,
    hidden_by: str,
) -> Alert:
    """The alert of one turn. ``number``: which turn of its episode it is."""
    rule, view, episode, window = (
        instance.rule,
        instance.view,
        instance.episode,
        instance.metric.window,
    )
    levels = instance.row.levels
    new = step.turn in (Turn.OPEN, Turn.UP)
    return Alert(
        id=EpisodeKey(rule.name, instance.instrument or view.asset, episode.opened_at).turn(number),
        rule=rule.name,
        family=rule.family,
        metric=rule.metric,
        unit=instance.metric.unit,
        asset=view.asset,
        scope=rule.scope,
        instrument=instance.instrument,
        turn=step.turn,
        level=step.level,
        value=step.value,
        # a level that a changed rule no longer has can still be closed
        threshold=levels.get(step.level, levels.get(step.alone or step.level, instance.row.clear)),
        fires=rule.fires,
        at=at,
        seen=now,
        opened_at=episode.opened_at,
        extreme=episode.extreme,
        extreme_at=episode.extreme_at,
        post=step.post and rule.post,
        held=step.held,
        hidden_by=hidden_by,
        price=view.price(now),
        price_before=view.price_at(now - window) if window else None,
        venues=reading.venues,
        missing=reading.missing,
        coverage=live_share(view, reading),
        facts=instance.metric.facts(view, now),
        records=_records(instance, step.value, reading, now) if new else (),
        opinions=instance.opinions(now) if step.turn is not Turn.CLOSE else (),
        alone=step.alone,
        cause=instance.cause(now) if step.turn is not Turn.CLOSE else None,
        liquidated=_liquidated(instance, now) if step.turn is Turn.CLOSE else None,
    )


def _liquidated(instance: RuleInstance, now: Ms) -> Liquidated | None:
    """What was liquidated in the episode, and in the window that it began with."""
    if instance.view.asset == ALL:
        return None
    before = min(instance.metric.window or 0, HOUR)
    return liquidated(instance.view, instance.episode.opened_at - before, now)


def composite_alert(composite: CompositeInstance, turn: Turn, now: Ms, at: Ms) -> Alert:
    """The alert of one turn of a composite, with the chain of what happened."""
    spec, state = composite.spec, composite.state
    fired_at = state.fired_at or now
    matches = sorted(state.chain.items(), key=lambda entry: (entry[1][1].at, entry[0]))
    instances = [instance for instance, _ in composite.parts.values()]
    began = min((match.at for _, (_, match) in matches), default=fired_at)
    chain = [_link(composite, condition, rule, match, now) for condition, (rule, match) in matches]
    view, known = instances[0].view, composite.known(now)
    earlier = [t for t in state.history if t < fired_at]
    return Alert(
        id=EpisodeKey(spec.name, composite.asset, fired_at).turn(state.turns),
        rule=spec.name,
        family=spec.name,
        metric=COMPOSITE,
        unit=COMPOSITE,
        asset=composite.asset,
        scope=instances[0].rule.scope,
        turn=turn,
        level=state.level(spec),
        value=float(len(state.holding(spec, now))),
        threshold=float(state.needed),
        fires="above",
        at=at,
        seen=now,
        opened_at=fired_at,
        extreme=float(state.most),
        extreme_at=state.most_at,
        post=spec.post,
        price=view.price(now),
        price_before=view.price_at(began),
        cause=state.cause,
        facts=CascadeFacts(
            within_ms=spec.within,
            needed=state.needed,
            chain=tuple(link for link in chain if link is not None),
            also=_also(composite, now),
            no_data=_no_data(composite, known),
            earlier=len(earlier),
            record_from=state.record_from,
            last_at=max(earlier, default=None),
        ),
    )


def _records(instance: RuleInstance, value: float, reading: Reading, now: Ms) -> tuple[Record, ...]:
    rule = instance.rule
    x = instance.sign * value
    return records(instance.trail, rule.fires, x, reading, now, rule.record_after, rule.settlements)


def _link(
    composite: CompositeInstance, condition: int, rule: str, match: ConditionMatch, now: Ms
) -> Link | None:
    part = composite.parts.get(rule)
    if part is None:
        return None
    instance, worst = part[0], composite.state.worst.get(rule)
    return Link(
        at=match.at,
        family=instance.rule.family,
        rule=rule,
        metric=instance.rule.metric,
        unit=instance.metric.unit,
        level=composite.state.reported.get(condition, match.level),
        value=match.value,
        extreme=worst.extreme if worst else match.value,
        extreme_at=worst.extreme_at if worst else match.at,
        extreme_longs=worst.longs if worst else None,
        opened_at=match.opened_at,
        facts=instance.metric.facts(instance.view, now),
    )


def _also(composite: CompositeInstance, now: Ms) -> tuple[Link, ...]:
    """What is hidden and no condition: of each family its worst window."""
    shown: dict[str, tuple[RuleInstance, Worst]] = {}
    for rule, instance in composite.folded.items():
        worst, family = composite.state.worst.get(rule), instance.rule.family
        if worst is None or not worst.level:
            continue
        if family not in shown or _severity(instance, worst) > _severity(*shown[family]):
            shown[family] = (instance, worst)
    return tuple(
        Link(
            at=min(worst.opened_at, now),
            family=family,
            rule=instance.rule.name,
            metric=instance.rule.metric,
            unit=instance.metric.unit,
            level=Level(worst.level),
            value=worst.extreme,
            extreme=worst.extreme,
            extreme_at=worst.extreme_at,
            extreme_longs=worst.longs,
            opened_at=worst.opened_at,
            facts=instance.metric.facts(instance.view, now),
        )
        for family, (instance, worst) in shown.items()
    )


def _severity(instance: RuleInstance, worst: Worst) -> tuple[int, float]:
    return worst.level, instance.metric.distance(worst.extreme)


def _no_data(composite: CompositeInstance, known: int) -> tuple[str, ...]:
    families = [
        family
        for condition, (family, _) in enumerate(composite.spec.all_of)
        if composite.watched >> condition & 1
        and not known >> condition & 1
        and condition not in composite.state.chain
    ]
    return tuple(dict.fromkeys(families))


class Judge:
    """Steps the episodes of rules and composites. ``composites_of``: those over an asset."""

    def __init__(self, composites_of: Callable[[str], Sequence[CompositeInstance]]) -> None:
        self.firing: dict[CompositeInstance, None] = {}
        """The composites that fire, in the order in which ``tick`` judges them."""
        self._composites_of = composites_of

    def move(
        self, instance: RuleInstance, reading: Reading, now: Ms, at: Ms
    ) -> list[AlertOrNotice]:
        """A value of a rule; ``at``: the venue's time of the event that caused it."""
        if (reading.lower_bound or reading.breach_only) and not instance.judged(reading):
            return []
        episode = instance.episode
        posted = episode.posted_open
        if instance.unsettled:
            settle_in(instance.rule, instance.row, episode, now, reading, instance.level_limit(now))
            instance.unsettled = False
        before = episode.last_live
        distance, limit = instance.metric.distance, instance.level_limit(now)
        steps = step(instance.rule, instance.row, episode, now, reading, distance, limit)
        instance.note(now, reading, episode.awake)
        goes_on = episode.level and (episode.interrupted or self.firing)
        if not steps and not goes_on:
            return []
        composites = self._composites_of(instance.view.asset)
        if episode.interrupted and before is not None and now - before > instance.rule.max_gap:
            for composite in composites:
                composite.state.interrupt(instance.rule.name, before)
        together = [s for c in composites for s in self._hear(c, instance, steps, reading, now, at)]
        if episode.interrupted and instance.reached(now) >= episode.level:
            episode.interrupted = False
        if not steps:
            return together
        family, level = instance.rule.family, max(turn.level for turn in steps)
        hiding = (c for c in composites if c.state.hides(c.spec, family, level, now))
        hidden_by = next((c.spec.name for c in hiding), "")
        if hidden_by:
            # what began unseen ends unseen
            episode.posted_open = posted and steps[0].turn is not Turn.OPEN
        first = episode.turns - len(steps) + 1
        return [
            *(
                alert(instance, s, first + n, reading, now, at, hidden_by)
                for n, s in enumerate(steps)
            ),
            *together,
        ]

    def tick(self, now: Ms) -> list[AlertOrNotice]:
        """Time passed: a composite that fires may be over."""
        return [
            turn
            for composite in tuple(self.firing)
            for turn in self._judge(composite, now, now, reached=False)
        ]

    def _hear(
        self,
        composite: CompositeInstance,
        instance: RuleInstance,
        steps: Sequence[Transition],
        reading: Reading,
        now: Ms,
        at: Ms,
    ) -> list[AlertOrNotice]:
        rule, episode, state = instance.rule, instance.episode, composite.state
        conditions = composite.conditions(instance)
        if conditions is None:
            return []
        reached = False
        for turn in steps if conditions else ():
            reached |= state.hear(rule.name, conditions, episode.opened_at, turn, now)
        if conditions and episode.interrupted and (level := instance.reached(now)):
            match = ConditionMatch(now, Level(level), reading.value, episode.opened_at)
            reached |= state.resume(rule.name, conditions, match)
        worse = False
        if state.firing and episode.level:
            far = instance.metric.distance
            worse = state.note(composite.spec, rule, episode, reading, now, far)
        if not (reached or worse or steps):
            return []
        level = max((turn.level for turn in steps if turn.turn is not Turn.CLOSE), default=0)
        hidden = level if composite.hides(instance) else 0
        return self._judge(composite, now, at, reached, worse, hidden)

    def _judge(
        self,
        composite: CompositeInstance,
        now: Ms,
        at: Ms,
        reached: bool,
        worse: bool = False,
        hidden: int = 0,
    ) -> list[AlertOrNotice]:
        state = composite.state
        if reached and not state.firing:
            hidden = composite.hidden_level()
        turn = state.judge(
            composite.spec,
            now,
            composite.watched,
            lambda: composite.known(now),
            reached,
            worse=worse,
            dark=composite.dark(now),
            hidden=hidden,
        )
        if turn is not None and state.firing:
            composite.report()
            state.cause = composite.cause_rule.cause(now) if composite.cause_rule else None
        if turn is Turn.CLOSE:
            composite.release_parts()
        if state.firing:
            self.firing[composite] = None
        else:
            self.firing.pop(composite, None)
        return [composite_alert(composite, turn, now, at)] if turn is not None else []
