"""Turns of episodes and composites → alerts."""

from rules.alerts import Alert, CascadeFacts, Level, Link, Record, Turn
from rules.composite import Spell, Worst
from rules.episode import Step
from rules.metric import Reading
from rules.records import records
from rules.watch import Cluster, Watch
from streams.events import Ms

COMPOSITE = "composite"
"""Metric and unit of a composite's alert."""


def alert(
    watch: Watch, step: Step, number: int, reading: Reading, now: Ms, at: Ms, hidden_by: str
) -> Alert:
    """The alert of one turn. ``number``: which turn of its episode it is."""
    rule, view, episode, window = watch.rule, watch.view, watch.episode, watch.metric.window
    new = step.turn in (Turn.OPEN, Turn.UP)
    return Alert(
        id=f"{rule.name}:{watch.instrument or view.asset}:{episode.opened_at}:{number}",
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
        threshold=watch.row.levels.get(step.level, watch.row.clear),
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
    )


def composite_alert(cluster: Cluster, turn: Turn, now: Ms, at: Ms) -> Alert:
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
        id=f"{spec.name}:{cluster.asset}:{fired_at}:{state.turns}",
        rule=spec.name,
        family=spec.name,
        metric=COMPOSITE,
        unit=COMPOSITE,
        asset=cluster.asset,
        scope=watches[0].rule.scope,
        turn=turn,
        level=spec.level,
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


def _records(watch: Watch, value: float, reading: Reading, now: Ms) -> tuple[Record, ...]:
    rule = watch.rule
    x = watch.sign * value
    return records(watch.trail, rule.fires, x, reading, now, rule.record_after, rule.settlements)


def _link(cluster: Cluster, condition: int, rule: str, spell: Spell, now: Ms) -> Link | None:
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


def _also(cluster: Cluster, now: Ms) -> tuple[Link, ...]:
    """What is hidden and no condition: of each family the window that is worst."""
    shown: dict[str, tuple[Watch, Worst]] = {}
    for rule, watch in cluster.folded.items():
        worst, family = cluster.gathering.worst.get(rule), watch.rule.family
        if worst is None or not worst.level:
            continue
        if family not in shown or _severity(watch, worst) > _severity(*shown[family]):
            shown[family] = (watch, worst)
    return tuple(
        Link(
            at=worst.opened_at,
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


def _severity(watch: Watch, worst: Worst) -> tuple[int, float]:
    return worst.level, watch.metric.distance(worst.extreme)


def _no_data(cluster: Cluster, known: int) -> tuple[str, ...]:
    families = [
        family
        for condition, (family, _) in enumerate(cluster.spec.all_of)
        if cluster.watched >> condition & 1
        and not known >> condition & 1
        and condition not in cluster.gathering.chain
    ]
    return tuple(dict.fromkeys(families))
