"""Readings → turns → what is said of rules, and of the composites over them. Pure.

The same for values as they come and for recorded ones.
"""

from collections.abc import Callable, Iterable, Sequence

from rules.alerts import Said, Turn
from rules.episode import Step, settle_in, step
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
        steps = step(watch.rule, watch.row, episode, now, reading, watch.metric.distance)
        watch.trail.note(now, watch.sign * reading.value, reading, episode.awake)
        if not steps:
            return []
        clusters = self._clusters_of(watch.view.asset)
        together = [said for c in clusters for said in self._hear(c, watch, steps, now, at)]
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
        self, cluster: Cluster, watch: Watch, steps: Iterable[Step], now: Ms, at: Ms
    ) -> list[Said]:
        part = cluster.parts.get(watch.rule.name)
        if part is None or part[0] is not watch:
            return []
        gathering, opened_at = cluster.gathering, watch.episode.opened_at
        heard = [gathering.hear(watch.rule.name, part[1], opened_at, s, now) for s in steps]
        return self._judge(cluster, now, at, reached=any(heard))

    def _judge(self, cluster: Cluster, now: Ms, at: Ms, reached: bool) -> list[Said]:
        gathering = cluster.gathering
        turn = gathering.judge(
            cluster.spec, now, cluster.watched, lambda: cluster.known(now), reached
        )
        if gathering.firing:
            self.firing[cluster] = None
        else:
            self.firing.pop(cluster, None)
        return [composite_alert(cluster, turn, now, at)] if turn is not None else []
