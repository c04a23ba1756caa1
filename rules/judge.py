"""Readings → turns → what is said of rules, and of the composites over them. Pure.

The same for values as they come and for recorded ones.
"""

from collections.abc import Callable, Sequence

from rules.alerts import Level, Said, Turn
from rules.composite import Spell
from rules.episode import Step, ready, settle_in, step
from rules.metric import Reading
from rules.telling import alert, composite_alert
from rules.watch import Cluster, Watch
from streams.events import Ms


class Judge:
    """Moves watches on. ``clusters_of``: the composites over an asset.

    ``firing``: the composites that fire, in the order in which time is asked about them.
    """

    def __init__(self, clusters_of: Callable[[str], Sequence[Cluster]]) -> None:
        self.firing: dict[Cluster, None] = {}
        self._clusters_of = clusters_of

    def move(self, watch: Watch, reading: Reading, now: Ms, at: Ms) -> list[Said]:
        """A value of a rule; ``at``: the venue's time of the event that caused it."""
        episode = watch.episode
        posted = episode.posted_open
        if watch.unsettled:
            settle_in(watch.rule, watch.row, episode, now, reading)
            watch.unsettled = False
        before = episode.last_live
        steps = step(watch.rule, watch.row, episode, now, reading, watch.metric.distance)
        watch.trail.note(now, watch.sign * reading.value, reading, episode.awake)
        goes_on = episode.level and (episode.interrupted or self.firing)
        if not steps and not goes_on:
            return []
        clusters = self._clusters_of(watch.view.asset)
        if episode.interrupted and before is not None and now - before > watch.rule.max_gap:
            for cluster in clusters:
                cluster.gathering.interrupt(watch.rule.name, before)
        together = [s for c in clusters for s in self._hear(c, watch, steps, reading, now, at)]
        if episode.interrupted and ready(watch.rule, episode, now) >= episode.level:
            episode.interrupted = False
        if not steps:
            return together
        hiding = (c for c in clusters if c.gathering.hides(c.spec, watch.rule.family, now))
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
            said for one in tuple(self.firing) for said in self._judge(one, now, now, reached=False)
        ]

    def _hear(
        self,
        cluster: Cluster,
        watch: Watch,
        steps: Sequence[Step],
        reading: Reading,
        now: Ms,
        at: Ms,
    ) -> list[Said]:
        rule, episode, gathering = watch.rule, watch.episode, cluster.gathering
        conditions = cluster.conditions(watch)
        if conditions is None:
            return []
        reached = False
        for one in steps if conditions else ():
            reached |= gathering.hear(rule.name, conditions, episode.opened_at, one, now)
        if conditions and episode.interrupted and (level := ready(rule, episode, now)):
            spell = Spell(now, Level(level), reading.value, episode.opened_at)
            reached |= gathering.resume(rule.name, conditions, spell)
        worse = False
        if gathering.firing and episode.level:
            far = watch.metric.distance
            worse = gathering.note(cluster.spec, rule, episode, reading, now, far)
        if not (reached or worse or steps):
            return []
        return self._judge(cluster, now, at, reached, worse)

    def _judge(
        self, cluster: Cluster, now: Ms, at: Ms, reached: bool, worse: bool = False
    ) -> list[Said]:
        gathering = cluster.gathering
        turn = gathering.judge(
            cluster.spec,
            now,
            cluster.watched,
            lambda: cluster.known(now),
            reached,
            worse=worse,
            dark=cluster.dark(now),
        )
        if turn is not None and gathering.firing:
            cluster.tell()
        if gathering.firing:
            self.firing[cluster] = None
        else:
            self.firing.pop(cluster, None)
        return [composite_alert(cluster, turn, now, at)] if turn is not None else []
