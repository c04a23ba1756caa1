"""The text of a post when it is sent, and when it is edited. Pure.

A post keeps its alerts and is rendered from them each time, with the newest values that the rules
have published of its episodes, and the time of those values. A level that was reached is not taken
back. That something got much worse is said while it is.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2s

import msgspec

from bot.delivery.post import ChatState, Part, Post
from bot.lang import LANGUAGES
from bot.lang.words import Words
from bot.messages.blocks import MOST_CHARS, blocks, fitted, plain, with_lines
from bot.messages.render import Message
from bot.messages.thread import delivery_message, heads_of
from bot.messages.voice import say, time
from bot.plan.planner import Delivery, merge_turns, severity, with_level_of
from rules.alerts import Alert, CascadeFacts, EpisodeKey, FundingFacts, Turn
from rules.metrics import metric
from streams.events import Ms

replace = msgspec.structs.replace

Present = Mapping[EpisodeKey, Alert]
"""Open episodes by their key, each as an alert with its present value, level and facts."""


def with_present(parts: Sequence[Part], present: Present) -> tuple[Part, ...]:
    """``parts`` with the newest values of their episodes, as far as any are newer."""
    return _replaced(parts, lambda alert: _newest(alert, present.get(alert.episode)))


MILDER = 1.25
"""What was so many times further from normal than it is got worse, and is not worse any more: as
much as a post is worth (``repost_if``), unless the configuration says otherwise."""


def as_it_is(parts: Sequence[Part], present: Present) -> tuple[Part, ...]:
    """``parts``, which have the values of now, without the news that something got worse which is
    milder again by now: how bad it was stands beside its value."""
    return tuple(part if isinstance(part, str) else _as_it_is(part, present) for part in parts)


def _as_it_is(delivery: Delivery, present: Present) -> Delivery:
    worse = [alert for alert in delivery.alerts if alert.turn is Turn.WORSE]
    milder = {alert.episode for alert in worse if _is_milder(alert, present)}
    of_event = worse or [alert for alert in delivery.alerts if alert.turn is not Turn.CLOSE]
    over = delivery.turn is Turn.WORSE and all(_is_milder(a, present) for a in of_event)
    if not milder and not over:
        return delivery
    alerts = [
        replace(alert, turn=Turn.OPEN) if alert.episode in milder else alert
        for alert in delivery.alerts
    ]
    return replace(delivery, alerts=tuple(alerts), turn=Turn.OPEN if over else delivery.turn)


def _is_milder(alert: Alert, present: Present) -> bool:
    """Whether it is far from as bad as it was; of a composite all its parts, as far as known."""
    if not isinstance(alert.facts, CascadeFacts):
        return _far(alert.metric, alert.value) * MILDER < _far(alert.metric, alert.extreme)
    links = (*alert.facts.chain, *alert.facts.also)
    known = [
        (link.metric, part.value, link.extreme)
        for link in links
        if (part := present.get(EpisodeKey(link.rule, alert.asset, link.opened_at))) is not None
    ]
    return bool(known) and all(_far(of, x) * MILDER < _far(of, worst) for of, x, worst in known)


def _far(name: str, value: float) -> float:
    """How far from normal a value of that metric is; as a number where it is none of today's."""
    try:
        return metric(name).distance(value)
    except ValueError:
        return abs(value)


def as_opening(delivery: Delivery, episodes: Collection[str], *, first: bool = False) -> Delivery:
    """``delivery`` as the first that readers hear of ``episodes``, which is that they began.
    ``first``: and of the event."""
    mine = {str(alert.episode) for alert in delivery.alerts}
    risen = delivery.turn in (Turn.UP, Turn.WORSE)
    alerts = [
        replace(alert, turn=Turn.OPEN)
        if str(alert.episode) in episodes and alert.turn is not Turn.CLOSE
        else alert
        for alert in delivery.alerts
    ]
    turn = Turn.OPEN if risen and (first or mine.issubset(episodes)) else delivery.turn
    return replace(delivery, alerts=tuple(sorted(alerts, key=severity)), turn=turn)


def as_openings(
    parts: Sequence[Part], episodes: Collection[str], *, first: bool = False
) -> tuple[Part, ...]:
    """``as_opening`` of each part; finished text stays."""
    return tuple(
        part if isinstance(part, str) else as_opening(part, episodes, first=first) for part in parts
    )


def open_episodes(parts: Sequence[Part]) -> tuple[str, ...]:
    """The episodes in ``parts`` that go on; none of an event that is over."""
    deliveries = [part for part in parts if isinstance(part, Delivery)]
    alerts = [a for part in deliveries if part.turn is not Turn.CLOSE for a in part.alerts]
    return tuple(str(alert.episode) for alert in alerts if alert.turn is not Turn.CLOSE)


def set_back(parts: Sequence[Part], by: Ms) -> tuple[Part, ...]:
    """``parts`` after the clock was set back ``by`` so much: what comes is newer than they are."""
    return _replaced(
        parts,
        lambda alert: replace(alert, seen=alert.seen - by, began=alert.seen - alert.age - by),
    )


def _replaced(parts: Iterable[Part], change: Callable[[Alert], Alert]) -> tuple[Part, ...]:
    return tuple(
        part
        if isinstance(part, str)
        else replace(part, alerts=tuple(sorted(map(change, part.alerts), key=severity)))
        for part in parts
    )


def _newest(alert: Alert, newer: Alert | None) -> Alert:
    """``alert`` with the values of ``newer``, of the same episode: its turn stays the same, and a
    level that was reached is not taken back."""
    if newer is None or alert.turn is Turn.CLOSE or not _is_newer(newer, alert):
        return alert
    settled = isinstance(alert.facts, FundingFacts) and alert.facts.settled
    if settled and newer.value == alert.value:
        return alert  # its time is that of the settlement
    return replace(
        with_level_of(alert, newer),
        id=alert.id,
        turn=alert.turn,
        post=alert.post,
        held=alert.held,
        hidden_by=alert.hidden_by,
    )


def _is_newer(newer: Alert, alert: Alert) -> bool:
    """Whether ``newer``, of the same episode, was seen after ``alert``: by its time, or by its age,
    where the clock of the streams was set back in between and ours was not."""
    return newer.seen > alert.seen or newer.age > alert.age


def merged_delivery(first: Delivery, later: Delivery) -> Delivery:
    """``first`` and ``later``, of the same event, as one, which rings if either does."""
    older = {alert.episode: alert for alert in first.alerts}
    alerts = [
        alert
        if alert.turn is Turn.CLOSE or alert.episode not in older
        else merge_turns(older[alert.episode], alert)
        for alert in later.alerts
    ]
    families = {*first.held, *later.held}
    return replace(
        later,
        alerts=tuple(sorted(alerts, key=severity)),
        at=first.at,
        turn=later.turn if later.turn is Turn.CLOSE else first.turn,
        silent=later.turn is Turn.CLOSE or (first.silent and later.silent),
        held={name: first.held.get(name, 0) + later.held.get(name, 0) for name in families},
    )


def alerts_of(parts: Sequence[Part]) -> list[Alert]:
    """The alerts in ``parts``."""
    return [alert for part in parts if isinstance(part, Delivery) for alert in part.alerts]


def values_at(parts: Sequence[Part]) -> Mapping[str, Ms]:
    """Episode → the time of its value in ``parts``."""
    return {str(alert.episode): alert.seen for alert in alerts_of(parts)}


def ages(parts: Sequence[Part]) -> Mapping[str, Ms]:
    """Episode → its age at the time of its value in ``parts``."""
    return {str(alert.episode): alert.age for alert in alerts_of(parts)}


def live_text(post: Post) -> str:
    """What ``post`` is to say, in short: what has happened, and its values as far as a reader sees
    a difference. A change of the first is worth an edit soon."""
    alerts = sorted(alerts_of(post.parts), key=lambda alert: str(alert.episode))
    deliveries = [part for part in post.parts if isinstance(part, Delivery)]
    happened = [f"{alert.episode} {alert.level} {alert.turn is Turn.CLOSE}" for alert in alerts]
    happened += [f"{part.turn is Turn.CLOSE} {sorted(part.since)}" for part in deliveries]
    values = [f"{value:.2g}" for alert in alerts for value in _values(alert)]
    return f"{_short([post.goes_on, *happened])} {_short([] if post.goes_on else values)}"


def _values(alert: Alert) -> Sequence[float]:
    """What says how bad it is. Of a composite: its parts, each at its worst."""
    if isinstance(alert.facts, CascadeFacts):
        return [link.extreme for link in (*alert.facts.chain, *alert.facts.also)]
    return alert.value, alert.extreme


def _short(words: Iterable[str]) -> str:
    return blake2s("|".join(words).encode(), digest_size=6).hexdigest()


def rendered(post: Post, lines: Sequence[str] = ()) -> Message:
    """The message of ``post``, with ``lines`` below it."""
    text, at = post.message.html, post.message.at
    level = post.message.level
    words = LANGUAGES[post.language]
    deliveries = [part for part in post.parts if isinstance(part, Delivery)]
    if post.title:
        text = _collapsed(post, words)
    elif deliveries:
        message = delivery_message(deliveries[0], words)
        text, at, level = message.html, message.at, message.level
        if post.short:
            text = _shortened(text, heads_of(deliveries[0], words))
    if post.title and deliveries:
        alerts = [alert for delivery in deliveries for alert in delivery.alerts]
        at = max(alert.at for alert in alerts)
    if post.goes_on:
        pointer = say(words, f"goes_on.{post.goes_on}", time=time(words, at, at))
        text = "\n".join([blocks(text)[0], pointer])
    single = post.count == 1 or (post.thread != "" and len(post.names) == 1)
    text = with_lines(text, lines, single)
    return replace(post.message, html=text, plain=plain(text), at=at, level=level)


def _shortened(text: str, heads: Sequence[str]) -> str:
    """``heads``, which cannot be left out, and the last line of ``text``."""
    last = blocks(text)[-1]
    return "\n".join([*heads, *([] if last in heads else [last])])


def _collapsed(post: Post, words: Words) -> str:
    """A post in place of several: the first lines of all."""
    title = say(words, post.title, count=str(post.gathered))
    heads = [head for part in post.parts for head in part_heads(part, words)]
    return fitted([str(title), *heads], MOST_CHARS)


def part_heads(part: Part, words: Words) -> Sequence[str]:
    """What cannot be left out of a part."""
    return (part,) if isinstance(part, str) else heads_of(part, words)


def post_heads(post: Post) -> tuple[str, ...]:
    """What cannot be left out of ``post``: of a digest all lines but the last, which name its
    assets. A post without alerts has only its finished text."""
    words = LANGUAGES[post.language]
    if post.parts:
        return tuple(head for part in post.parts for head in part_heads(part, words))
    texts = blocks(post.message.html)
    return post.heads or tuple(texts[:-1] if post.count > 1 else texts[:1])


def lines_below(post: Post, state: ChatState, late: Ms, now: Ms) -> tuple[str, ...]:
    """What ``post`` says of itself if it is sent ``now``: that it may be there twice, how late it
    is, and what was left out before it."""
    words = LANGUAGES[post.language]
    lines: list[str] = []
    if post.resend:
        lines.append(say(words, "again", id=short_id(post)))
    if state.left and not post.close:
        lines.append(left_out(words, state.left, state.left_names))
    if now - post.at > late:
        lines.append(say(words, "late", length=words.length(now - post.at)))
    return tuple(map(str, lines))


def edited(post: Post) -> Message:
    """``post`` as an edit has it."""
    return rendered(post, post.lines)


def short_id(post: Post) -> str:
    """Six digits by which a reader can tell that two posts are the same."""
    return blake2s(post.key.encode()).hexdigest()[:6]


def left_out(words: Words, count: int, names: Sequence[str]) -> str:
    """``+7 older left out: BTC, ETH, …``."""
    more = [*names, "…"] if count > len(names) else names
    return say(words, "left_out", count=str(count), names=words.comma.join(more))
