"""What must hold of a run, whatever its faults; ``judge`` says in words where it does not.

A run with faults is compared with the same market without:

- an episode may be missing, late or milder only if data of its rule were *dark*: a fault touched a
  feed that it reads within what the rule looks back at, or shortly before (``RECOVERY``), or while
  the episode went on;
- an episode opens only while the market without faults has it open, and ends only when it has ended
  there: data that were dark may delay both, never bring them forward;
- faults that touch no data (kills, Telegram) change no alert in any field; a step of the clock
  changes no more than its times.

And of each run alone: posts, books, memory.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from bot.delivery.post import Post, PostState
from rules.alerts import Alert, Level, Turn
from streams.durations import MINUTE, SECOND
from streams.events import Ms
from tests.simulate.faults import CLOCK, DARK, VENUE
from tests.simulate.world import Run

RECOVERY: Ms = 2 * MINUTE
"""So long after a fault data may still be away: waits before reconnecting and asking anew."""

SPANS = {
    "oi_drop": 4 * MINUTE,
    "price_drop": 3 * MINUTE + 30 * SECOND,
    "liq_burst": 3 * MINUTE,
    "depth_thin": 2 * MINUTE,
    "funding_predicted": MINUTE,
    "cascade": 14 * MINUTE,
}
"""How far a rule looks back, with the time that its level must last."""

SLACK: Ms = 3 * SECOND
"""Between two runs of which none was dark: a look more or less."""

POLLED: Ms = 15 * SECOND
"""How far apart readings may be. A step of the clock moves the moments of polls, and where one is
lost another stands at the end of a window: then a moment may be that far from the market's."""

DELAY: Ms = MINUTE
"""How much later than the market's an opening may be, and its end, that was dark."""

_EXACT = 1e-6
_STALE: Ms = 40 * SECOND
"""A venue's books may be silent for 30 s before they count as down, and be said seconds later."""

_MOST = {"posts": 400, "plan": 100}


class EpisodeSpan(msgspec.Struct):
    """An episode as it was said: steady ms, ``ended`` None while it goes on."""

    family: str
    began: Ms
    ended: Ms | None = None
    level: Level = Level.WATCH

    def overlaps(self, start: Ms, end: Ms) -> bool:
        """Whether it was open at a moment of this time."""
        return self.began <= end and (self.ended is None or self.ended >= start)


def judge(base: Run, run: Run) -> list[str]:
    """All that is wrong with ``run``; ``base`` is the same market without faults."""
    wrong = [*_books(run), *_posts(run), *_memory(run)]
    if any(fault.kind in (*VENUE, *CLOCK) for fault in run.faults):
        wrong += _missing(base, run)
        wrong += _due_to_faults(base, run)
    elif (of_run := _alerts(run)) != (of_base := _alerts(base)):
        wrong.append(f"other alerts though no data were touched: {_difference(of_base, of_run)}")
    return wrong


def episodes(run: Run) -> list[EpisodeSpan]:
    """The episodes of a run, in the order of their beginnings."""
    spans: dict[str, EpisodeSpan] = {}
    for at, alert in run.alerts:
        key = str(alert.episode)
        span = spans.get(key)
        if span is None:
            span = spans[key] = EpisodeSpan(family=alert.family or alert.rule, began=at)
        span.level = max(span.level, alert.level)
        if alert.turn is Turn.CLOSE:
            span.ended = at
    return [*spans.values()]


def slack(run: Run) -> Ms:
    """How far a moment may be from that of the run without faults, if nothing was dark. What is
    judged while the rules are away is said when they are back."""
    away = [f.until - f.at for f in run.faults if f.kind == "rules killed"]
    return SLACK + sum(away) + POLLED * any(f.kind in (*CLOCK, *DARK) for f in run.faults)


def dark(run: Run, start: Ms, end: Ms) -> bool:
    """Whether a fault touched data between these times, or so shortly before that they may still
    have been away."""
    return any(
        fault.kind in DARK and fault.at <= end and fault.until + RECOVERY >= start
        for fault in run.faults
    )


def _missing(base: Run, run: Run) -> Iterator[str]:
    heard, near = episodes(run), slack(run)
    for episode in episodes(base):
        end = episode.ended or episode.began
        if dark(run, episode.began - SPANS[episode.family], end):
            continue
        same = [
            other
            for other in heard
            if other.family == episode.family and abs(other.began - episode.began) <= near
        ]
        if not same:
            yield f"missing: {_named(episode)}"
        elif same[0].level is not episode.level:
            yield f"of another level: {_named(episode)} is {same[0].level.name}"
        elif episode.ended and (same[0].ended is None or same[0].ended - episode.ended > near):
            yield f"ends late though nothing was dark: {_named(episode)}"


def _due_to_faults(base: Run, run: Run) -> Iterator[str]:
    true, near = episodes(base), slack(run)
    for episode in episodes(run):
        same = [other for other in true if other.family == episode.family]
        around = [e for e in same if e.overlaps(episode.began - DELAY, episode.began + near)]
        if not around:
            yield f"opened by a fault: {_named(episode)}"
        elif episode.level > max(other.level for other in same):
            yield f"worse than it was: {_named(episode)}"
        if (end := episode.ended) is not None:
            for other in same:
                if other.began < end - near and (other.ended is None or other.ended > end + near):
                    yield f"ended by a fault: {_named(episode)}; it went on: {_named(other)}"


def _named(episode: EpisodeSpan) -> str:
    ended = "" if episode.ended is None else f"{episode.ended / 1000:g}"
    return f"{episode.family} {episode.began / 1000:g}-{ended} {episode.level.name}"


def _alerts(run: Run) -> list[Alert]:
    return [alert for _, alert in run.alerts]


def _difference(base: Sequence[Alert], run: Sequence[Alert]) -> str:
    pairs = zip(base, run, strict=False)
    first = next((pair for pair in pairs if pair[0] != pair[1]), None)
    if first is None:
        return f"{len(base)} and {len(run)} of them"
    names = [name for name in Alert.__struct_fields__
             if getattr(first[0], name) != getattr(first[1], name)]  # fmt: skip
    return f"{first[0].id} and {first[1].id} differ in {', '.join(names)}"


# ── books ───────────────────────────────────────────────────────────────


def _books(run: Run) -> Iterator[str]:
    """A band that claims to be covered is what the venue had at that moment."""
    for claim in run.claims:
        depth = claim.depth
        if claim.truth is None:
            yield f"a book of {depth.venue} that it did not have, at {depth.at}"
            return
        if claim.age > _STALE:
            yield f"a book of {depth.venue} that is {claim.age / 1000:g} s old, at {depth.at}"
            return
        for band, (bp, bids, asks) in zip(depth.bands, claim.truth.bands(), strict=True):
            apart = max(abs(band.bid_usd - bids), abs(band.ask_usd - asks))
            if band.covered and apart > _EXACT * max(bids, asks):
                yield (
                    f"{depth.venue} {bp} bp at {depth.at}: {band.bid_usd:.0f} {band.ask_usd:.0f},"
                    f" and there were {bids:.0f} {asks:.0f}"
                )
                return


# ── posts ───────────────────────────────────────────────────────────────


def _posts(run: Run) -> Iterator[str]:
    yield from (f"not settled at the end: {key}" for key in run.unsettled)
    here = {message.number: message for message in run.messages if not message.gone}
    copies = Counter(message.key for message in here.values())
    yield from (f"there {count} times: {key}" for key, count in copies.items() if count > 1)
    posts = [run.posts[key] for key in run.order]
    sent = [post for post in posts if post.state is PostState.SENT]
    for post in sent:
        if post.message_id not in here:
            yield f"confirmed and not there: {post.key}"
    yield from _of_alerts(run, sent)
    yield from _told_twice(sent)
    yield from _threads(run, sent)
    yield from _ends(sent)


def _of_alerts(run: Run, sent: Sequence[Post]) -> Iterator[str]:
    in_posts = {alert for post in sent for alert in (*post.alerts, *post.grown)}
    for _, alert in run.alerts:
        if alert.id not in in_posts and alert.post and not _accounted(run, alert):
            yield f"not told, and no reason: {alert.id}"


def _told_twice(sent: Sequence[Post]) -> Iterator[str]:
    """The posts of an event show all of it, so that an alert may be in several; but each tells of
    something that none before it has told."""
    earlier: set[str] = set()
    for post in sent:
        if post.alerts and earlier.issuperset(post.alerts):
            yield f"told twice: {post.key}"
        earlier.update(post.alerts)


def _threads(run: Run, sent: Sequence[Post]) -> Iterator[str]:
    """What goes on in the market's post goes on in one that arrived; what is over says so."""
    threads = {post.thread for post in sent}
    over = {str(alert.episode) for _, alert in run.alerts if alert.turn is Turn.CLOSE}
    for post in sent:
        if post.goes_on == "market" and post.into not in threads:
            yield f"points to nothing: {post.key}"
        if post.thread and post.open and over.issuperset(post.open):
            yield f"over, and does not say so: {post.key}"


def _accounted(run: Run, alert: Alert) -> bool:
    return alert.id in run.not_posted


def _ends(sent: Sequence[Post]) -> Iterator[str]:
    """An end comes after the beginning of its episode."""
    for post in sent:
        if not post.close or post.message_id is None:
            continue
        for episode in post.episodes:
            before = [
                other
                for other in sent
                if episode in other.episodes
                and not other.close
                and other.message_id is not None
                and other.message_id < post.message_id
            ]
            if not before:
                yield f"an end without a beginning: {post.key}"


def _memory(run: Run) -> Iterator[str]:
    for name, count in run.counts.items():
        if count > _MOST[name]:
            yield f"{count} entries of {name} are remembered"
