"""Posts for the outbox: of a plan's delivery, of a notice, of a delivery problem. Pure."""

from collections.abc import Sequence

import msgspec

from bot.delivery.post import DeliveryProblem, Policy, Post
from bot.delivery.queue import ChatQueue
from bot.delivery.rendering import as_opening, live_text, open_episodes
from bot.destination import queue_key, topic_of
from bot.lang import LANGUAGES
from bot.messages.render import Message, own_message
from bot.messages.thread import delivery_message
from bot.messages.voice import say
from bot.plan.planner import Chat, Delivery
from rules.alerts import Level, Turn
from streams.events import Ms


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
        topic=topic,
        count=len(delivery.alerts),
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


def problem_message(problem: DeliveryProblem, chat: Chat, now: Ms) -> Message:
    """What to tell operators about ``problem``."""
    words = LANGUAGES[chat.language]
    text = say(words, problem.phrase, chat=problem.chat, reason=problem.reason, alert=problem.alert)
    alert_id = f"{problem.phrase} {problem.chat} {problem.alert} {now}"
    return own_message(alert_id, "delivery", text, now, level=Level.ALERT)
