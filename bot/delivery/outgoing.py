"""Posts for the outbox: of a plan's delivery, of a notice, of a delivery problem. Pure."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

import msgspec

from bot.delivery.post import DeliveryProblem, Policy, Post
from bot.delivery.queue import ChatQueue
from bot.delivery.rendering import as_opening, live_text, open_episodes
from bot.delivery.sinks.markup import utf16
from bot.delivery.sinks.services import room_of
from bot.destination import Destination, MessengerName, queue_key, topic_of
from bot.lang import LANGUAGES
from bot.lang.words import Words
from bot.messages.blocks import MOST_CHARS
from bot.messages.render import OVER, Message, own_message
from bot.messages.thread import delivery_message
from bot.messages.voice import Html, say, time
from bot.plan.planner import Chat, Delivery
from bot.plan.summaries import DueSummary
from bot.plan.weekly import LATEST, DueReport
from rules.alerts import Level, NearRelease, Turn
from streams.durations import HOUR, MINUTE
from streams.events import Ms

_ROOM = MOST_CHARS - 400
"""How long a piece of a report may be. The rest is for its head, and for lines that say that it is
late, or that others were left out."""

_MAKING: Ms = 10 * MINUTE
"""A weekly report that is posted so soon after its time is not late: it takes a while to make."""


def recap_post(
    delivery: Delivery,
    chat: Chat,
    queue: ChatQueue,
    fresh: Sequence[Post],
    number: int,
    policy: Policy,
) -> Post:
    """The ``number``-th post, which looks back on an event that is over. It is of no episode: what
    waits of the event is posted beside it. ``fresh`` as in ``delivery_post``."""
    keys = dict.fromkeys(str(alert.episode) for alert in delivery.alerts)
    openings = [_opening(key, chat, queue, fresh) for key in keys]
    first = delivery.alerts[0]
    return Post(
        key=f"{chat.key} {delivery.at} {first.id} recap",
        chat=queue.key,
        number=number,
        message=delivery_message(delivery, LANGUAGES[chat.language]),
        at=delivery.at,
        expires=delivery.at + policy.expires[max(a.level for a in delivery.alerts)],
        parts=(delivery,),
        # elsewhere an edit tells the end, here nothing else does
        alerts=() if chat.edits else tuple(alert.id for alert in delivery.alerts),
        language=chat.language,
        short=chat.short,
        topic=topic_of(chat.destination),
        names=tuple(dict.fromkeys(alert.asset for alert in delivery.alerts)),
        openings=tuple(dict.fromkeys(opening for opening in openings if opening))[-1:],
    )


def delivery_post(
    delivery: Delivery,
    chat: Chat,
    queue: ChatQueue,
    fresh: Sequence[Post],
    number: int,
    policy: Policy,
) -> Post:
    """The ``number``-th post, of ``delivery``. ``fresh``: posts that are not in ``queue`` yet."""
    words, first = LANGUAGES[chat.language], delivery.alerts[0]
    close = all(alert.turn is Turn.CLOSE for alert in delivery.alerts)
    alerts = {str(alert.episode): alert for alert in delivery.alerts}
    openings = {key: _opening(key, chat, queue, fresh) for key in alerts}
    topic = topic_of(chat.destination)
    unheard = [
        key
        for key, opening in openings.items()
        if not opening and (delivery.thread or queue.lost(key, topic))
    ]
    earlier = [p for p in fresh if (p.chat, p.topic) == (queue.key, topic)]
    heard = queue.heard(delivery.thread, topic, number)
    heard = heard or any(post.thread == delivery.thread for post in earlier)
    if (unheard or not heard) and not close:
        delivery = as_opening(delivery, unheard, first=delivery.thread != "" and not heard)
    post = Post(
        key=f"{chat.key} {delivery.at} {first.id}",
        chat=queue.key,
        number=number,
        message=delivery_message(delivery, words),
        at=delivery.at,
        expires=delivery.at + policy.expires[max(a.level for a in delivery.alerts)],
        parts=(delivery,),
        alerts=tuple(alert.id for alert in delivery.alerts),
        language=chat.language,
        short=chat.short,
        picture=chat.pictures,
        topic=topic,
        count=len(delivery.alerts),
        buttons=chat.buttons if delivery.thread else (),
        names=tuple(dict.fromkeys(alert.asset for alert in delivery.alerts)),
        episodes=tuple(alerts),
        open=open_episodes([delivery]),
        thread=delivery.thread,
        openings=tuple(dict.fromkeys(opening for opening in openings.values() if opening)),
    )
    return msgspec.structs.replace(post, live=live_text(post))


def _opening(episode: str, chat: Chat, queue: ChatQueue, fresh: Sequence[Post]) -> str:
    """The key of the post in which readers heard of ``episode`` first; "": there is none."""
    opening = queue.opening(episode, topic_of(chat.destination))
    if opening is not None:
        return opening.key
    here = (queue.key, topic_of(chat.destination))
    mine = [p for p in fresh if (p.chat, p.topic) == here and not p.close]
    return next((p.key for p in mine if episode in p.episodes), "")


def notice_post(message: Message, chat: Chat, number: int, policy: Policy, now: Ms) -> Post:
    """A post of ``message`` for operators."""
    return Post(
        key=f"{chat.key} {message.alert_id}",
        chat=queue_key(chat.destination),
        number=number,
        message=message,
        at=message.at,
        expires=now + policy.expires[Level.ALERT],
        language=chat.language,
        topic=topic_of(chat.destination),
        names=(message.rule,),
    )


def report_posts(
    text: str, due: DueReport, chat: Chat, number: Callable[[], int], now: Ms
) -> list[Post]:
    """The weekly report ``text``, plain, in as few posts as take it, without a sound. ``number``:
    gives the place of a post among all."""
    at = now if now - due.at <= _MAKING else due.at  # it says how late it is
    first, _, rest = escape(text.strip(), quote=False).partition("\n")
    name, expires = f"weekly {due.week}", due.at + LATEST + HOUR
    label = say(LANGUAGES[chat.language], "week.name")
    pieces = _in_pieces(name, Html(first), Html(rest), label, at, expires, chat, number)
    picture = msgspec.structs.replace(pieces[0], picture=chat.pictures, week=due.week)
    return [picture, *pieces[1:]]


def summary_posts(
    head: Html, body: Html, due: DueSummary, chat: Chat, number: Callable[[], int], now: Ms
) -> list[Post]:
    """The summary of an hour or a day, as ``report_posts`` has the weekly report."""
    label = say(LANGUAGES[chat.language], "summary.name")
    return _in_pieces(f"summary {due.at}", head, body, label, now, due.expires, chat, number)


def _in_pieces(
    name: str, head: Html, body: Html, label: Html, at: Ms, expires: Ms, chat: Chat,
    number: Callable[[], int],
) -> list[Post]:  # fmt: skip
    """A long text in as few posts as take it, each below ``head``, without a sound."""
    dot, posts = LANGUAGES[chat.language].dot, list[Post]()
    pieces = _pieces(body.strip("\n"), chat.destination)
    for place, piece in enumerate(pieces, start=1):
        which = escape(f"{dot}{place}/{len(pieces)}", quote=False) if len(pieces) > 1 else ""
        html = Html("\n".join([f"{OVER} <b>{head}</b>{which}", *(["", piece] if piece else [])]))
        rule, of_piece = name.partition(" ")[0], f"{name} {place}/{len(pieces)}"
        posts.append(
            Post(
                key=f"{chat.key} {of_piece}",
                chat=queue_key(chat.destination),
                number=number(),
                message=own_message(of_piece, rule, html, at, turn=Turn.CLOSE, silent=True),
                at=at,
                expires=expires,
                language=chat.language,
                topic=topic_of(chat.destination),
                names=(str(label),),
                heads=tuple(html.split("\n")),
            )
        )
    return posts


def _pieces(body: str, to: Destination) -> list[str]:
    """``body`` in pieces that fit into a message there: of whole sections, which have an empty line
    between them, or at least of whole lines."""
    room, units = _ROOM, utf16
    if isinstance(to, MessengerName):
        room, units = room_of(to.service)
    pieces: list[str] = []
    for section in body.split("\n\n"):
        parts = [section] if units(section) <= room else section.split("\n")
        for n, part in enumerate(parts):
            longer = "\n".join([pieces[-1], *([] if n else [""]), part]) if pieces else part
            if pieces and units(longer) <= room:
                pieces[-1] = longer
            else:
                pieces.append(part)
    return pieces


def release_post(release: NearRelease, chat: Chat, number: int, now: Ms) -> Post:
    """The note before an announcement, without a sound; once it is there it is no news."""
    words = LANGUAGES[chat.language]
    what = say(words, f"release.{release.kind}")
    text = say(words, "release.note", what=what, time=time(words, release.at, now))
    name = f"release {release.kind} {release.at}"
    html = Html(f"{OVER} {text}")
    return Post(
        key=f"{chat.key} {name}",
        chat=queue_key(chat.destination),
        number=number,
        message=own_message(name, "release", html, now, turn=Turn.CLOSE, silent=True),
        at=now,
        expires=release.at,
        language=chat.language,
        topic=topic_of(chat.destination),
        names=(str(what),),
        heads=(str(html),),
    )


def missing_report_message(due: DueReport, reason: str, now: Ms, words: Words) -> Message:
    """What to tell operators about a weekly report that is not there for ``reason``."""
    key = "weekly.left_out" if due.too_late else "weekly.later"
    text = say(words, key, day=words.day(due.week, now), reason=reason)
    return own_message(f"weekly {due.week} {now}", "weekly", text, now, silent=True)


def gone_rules_message(rules: Sequence[str], chat: Chat, now: Ms) -> Message:
    """What to tell a subscriber whose ``rules`` are gone."""
    words = LANGUAGES[chat.language]
    text = say(words, "ask.subscribed.gone", rules=words.comma.join(rules))
    return own_message(f"gone {','.join(rules)} {now}", "subscription", text, now)


def gone_subscriptions_message(counts: Mapping[str, int], chat: Chat, now: Ms) -> Message:
    """What to tell operators of it. ``counts``: rule → how many subscribers wanted it."""
    words = LANGUAGES[chat.language]
    rules = words.comma.join(f"{rule} ({count})" for rule, count in counts.items())
    text = say(words, "ask.tell.gone", rules=rules)
    return own_message(f"gone {now}", "subscription", text, now)


def problem_message(problem: DeliveryProblem, chat: Chat, now: Ms) -> Message:
    """What to tell operators about ``problem``."""
    words = LANGUAGES[chat.language]
    text = say(words, problem.phrase, chat=problem.chat, reason=problem.reason, alert=problem.alert)
    alert_id = f"{problem.phrase} {problem.chat} {problem.alert} {now}"
    return own_message(alert_id, "delivery", text, now, level=Level.ALERT)
