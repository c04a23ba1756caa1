"""Readings → turns → what is said of rules, and of the composites over them. Pure.

The same for values as they come and for recorded ones.

Turns of episodes and composites → alerts.
"""

from collections.abc import Callable, Sequence

from rules.alerts import Alert, CascadeFacts, EpisodeKey, Level, Link, Record, Said, Turn
from rules.composite import ConditionMatch, Worst
from rules.episode import Transition, settle_in, step
from rules.metric import Reading
from rules.records import records
from rules.watchlist import CompositeInstance, RuleInstance
from streams.events import Ms

COMPOSITE = "composite"
"""Metric and unit of a composite's alert."""


def alert(
    watch: RuleInstance,
    step: Transition,
    number: int,
    reading: Reading,
    now: Ms,
    at: Ms,
    hidden_by: str,
) -> Alert:
    """The alert of one turn. ``number``: which turn of its episode it is."""
    rule, view, episode, window = watch.rule, watch.view, watch.episode, watch.metric.window
    levels = watch.row.levels
    new = step.turn in (Turn.OPEN, Turn.UP)
    return Alert(
        id=EpisodeKey(rule.name, watch.instrument or view.asset, episode.opened_at).turn(number),
        rule=rule.name,
        family=rule.family,
        metric=rule.metric,
        unit=watch.metric.unit,
        asset=view.asset,
        scope=rule.scope,
        instrument=watch.instrument,
        turn=step.turn,
        level=step.level,
        value=step.value,
        # a level that a changed rule no longer has can still be closed
        threshold=levels.get(step.level, levels.get(step.alone or step.level, watch.row.clear)),
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
        facts=watch.metric.facts(view, now),
        records=_records(watch, step.value, reading, now) if new else (),
        opinions=watch.opinions(now) if step.turn is not Turn.CLOSE else (),
        alone=step.alone,
        cause=watch.cause(now) if step.turn is not Turn.CLOSE else None,
    )


def composite_alert(cluster: CompositeInstance, turn: Turn, now: Ms, at: Ms) -> Alert:
    """The alert of a composite, told by its chain."""
    spec, state = cluster.spec, cluster.gathering
    fired_at = state.fired_at or now
    spells = sorted(state.chain.items(), key=lambda entry: (entry[1][1].at, entry[0]))
    watches = [watch for watch, _ in cluster.parts.values()]
    began = min((spell.at for _, (_, spell) in spells), default=fired_at)
    chain = [_link(cluster, condition, rule, spell, now) for condition, (rule, spell) in spells]
    view, known = watches[0].view, cluster.known(now)
    earlier = [t for t in state.history if t < fired_at]
    return Alert(
        id=EpisodeKey(spec.name, cluster.asset, fired_at).turn(state.turns),
        rule=spec.name,
        family=spec.name,
        metric=COMPOSITE,
        unit=COMPOSITE,
        asset=cluster.asset,
        scope=watches[0].rule.scope,
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
            also=_also(cluster, now),
            no_data=_no_data(cluster, known),
            earlier=len(earlier),
            record_from=state.record_from,
            last_at=max(earlier, default=None),
        ),
    )


def _records(watch: RuleInstance, value: float, reading: Reading, now: Ms) -> tuple[Record, ...]:
    rule = watch.rule
    x = watch.sign * value
    return records(watch.trail, rule.fires, x, reading, now, rule.record_after, rule.settlements)


def _link(
    cluster: CompositeInstance, condition: int, rule: str, spell: ConditionMatch, now: Ms
) -> Link | None:
    part = cluster.parts.get(rule)
    if part is None:
        return None
    watch, worst = part[0], cluster.gathering.worst.get(rule)
    return Link(
        at=spell.at,
        family=watch.rule.family,
        rule=rule,
        metric=watch.rule.metric,
        unit=watch.metric.unit,
        level=cluster.gathering.told.get(condition, spell.level),
        value=spell.value,
        extreme=worst.extreme if worst else spell.value,
        extreme_at=worst.extreme_at if worst else spell.at,
        extreme_longs=worst.longs if worst else None,
        opened_at=spell.opened_at,
        facts=watch.metric.facts(watch.view, now),
    )


def _also(cluster: CompositeInstance, now: Ms) -> tuple[Link, ...]:
    """What is hidden and no condition: of each family the window that is worst."""
    shown: dict[str, tuple[RuleInstance, Worst]] = {}
    for rule, watch in cluster.folded.items():
        worst, family = cluster.gathering.worst.get(rule), watch.rule.family
        if worst is None or not worst.level:
            continue
        if family not in shown or _severity(watch, worst) > _severity(*shown[family]):
            shown[family] = (watch, worst)
    return tuple(
        Link(
            at=min(worst.opened_at, now),
            family=family,
            rule=watch.rule.name,
            metric=watch.rule.metric,
            unit=watch.metric.unit,
            level=Level(worst.level),
            value=worst.extreme,
            extreme=worst.extreme,
            extreme_at=worst.extreme_at,
            extreme_longs=worst.longs,
            opened_at=worst.opened_at,
            facts=watch.metric.facts(watch.view, now),
        )
        for family, (watch, worst) in shown.items()
    )


def _severity(watch: RuleInstance, worst: Worst) -> tuple[int, float]:
    return worst.level, watch.metric.distance(worst.extreme)


def _no_data(cluster: CompositeInstance, known: int) -> tuple[str, ...]:
    families = [
        family
        for condition, (family, _) in enumerate(cluster.spec.all_of)
        if cluster.watched >> condition & 1
        and not known >> condition & 1
        and condition not in cluster.gathering.chain
    ]
    return tuple(dict.fromkeys(families))


class Judge:
    """Moves watches on. ``clusters_of``: the composites over an asset.

    ``firing``: the composites that fire, in the order in which time is asked about them.
    """

    def __init__(self, clusters_of: Callable[[str], Sequence[CompositeInstance]]) -> None:
        self.firing: dict[CompositeInstance, None] = {}
        self._clusters_of = clusters_of

    def move(self, watch: RuleInstance, reading: Reading, now: Ms, at: Ms) -> list[Said]:
        """A value of a rule; ``at``: the venue's time of the event that caused it."""
        if not watch.judged(reading):
            return []
        episode = watch.episode
        posted = episode.posted_open
        if watch.unsettled:
            settle_in(watch.rule, watch.row, episode, now, reading, watch.told(now))
            watch.unsettled = False
        before = episode.last_live
        distance, limit = watch.metric.distance, watch.told(now)
        steps = step(watch.rule, watch.row, episode, now, reading, distance, limit)
        watch.trail.note(now, watch.sign * reading.value, reading, episode.awake)
        goes_on = episode.level and (episode.interrupted or self.firing)
        if not steps and not goes_on:
            return []
        clusters = self._clusters_of(watch.view.asset)
        if episode.interrupted and before is not None and now - before > watch.rule.max_gap:
            for cluster in clusters:
                cluster.gathering.interrupt(watch.rule.name, before)
        together = [s for c in clusters for s in self._hear(c, watch, steps, reading, now, at)]
        if episode.interrupted and watch.reached(now) >= episode.level:
            episode.interrupted = False
        if not steps:
            return together
        family, level = watch.rule.family, max(turn.level for turn in steps)
        hiding = (c for c in clusters if c.gathering.hides(c.spec, family, level, now))
        hidden_by = next((c.spec.name for c in hiding), "")
        if hidden_by:
            # what began unseen ends unseen
            episode.posted_open = posted and steps[0].turn is not Turn.OPEN
        first = episode.turns - len(steps) + 1
        return [
            *(alert(watch, s, first + n, reading, now, at, hidden_by) for n, s in enumerate(steps)),
            *together,
        ]

    def tick(self, now: Ms) -> list[Said]:
        """Time passed: composites that fire may be over."""
        return [
            turn
            for composite in tuple(self.firing)
            for turn in self._judge(composite, now, now, reached=False)
        ]

    def _hear(
        self,
        cluster: CompositeInstance,
        watch: RuleInstance,
        steps: Sequence[Transition],
        reading: Reading,
        now: Ms,
        at: Ms,
    ) -> list[Said]:
        rule, episode, gathering = watch.rule, watch.episode, cluster.gathering
        conditions = cluster.conditions(watch)
        if conditions is None:
            return []
        reached = False
        for turn in steps if conditions else ():
            reached |= gathering.hear(rule.name, conditions, episode.opened_at, turn, now)
        if conditions and episode.interrupted and (level := watch.reached(now)):
            spell = ConditionMatch(now, Level(level), reading.value, episode.opened_at)
            reached |= gathering.resume(rule.name, conditions, spell)
        worse = False
        if gathering.firing and episode.level:
            far = watch.metric.distance
            worse = gathering.note(cluster.spec, rule, episode, reading, now, far)
        if not (reached or worse or steps):
            return []
        level = max((turn.level for turn in steps if turn.turn is not Turn.CLOSE), default=0)
        hidden = level if cluster.hides(watch) else 0
        return self._judge(cluster, now, at, reached, worse, hidden)

    def _judge(
        self,
        cluster: CompositeInstance,
        now: Ms,
        at: Ms,
        reached: bool,
        worse: bool = False,
        hidden: int = 0,
    ) -> list[Said]:
        gathering = cluster.gathering
        if reached and not gathering.firing:
            hidden = cluster.hidden_level()
        turn = gathering.judge(
            cluster.spec,
            now,
            cluster.watched,
            lambda: cluster.known(now),
            reached,
            worse=worse,
            dark=cluster.dark(now),
            hidden=hidden,
        )
        if turn is not None and gathering.firing:
            cluster.tell()
            gathering.cause = cluster.teller.cause(now) if cluster.teller else None
        if turn is Turn.CLOSE:
            cluster.let_go()
        if gathering.firing:
            self.firing[cluster] = None
        else:
            self.firing.pop(cluster, None)
        return [composite_alert(cluster, turn, now, at)] if turn is not None else []
