"""What delivery adds to messages, as samples for the golden texts."""

from collections.abc import Mapping

import msgspec

from bot.delivery.outgoing import problem_message
from bot.delivery.post import ChatState, DeliveryProblem, Post, as_message
from bot.delivery.queue import digests
from bot.delivery.rendering import edited, lines_below, rendered
from bot.delivery.sinks.telegram import no_administrator
from bot.destination import TelegramChat
from bot.lang import LANGUAGES
from bot.messages.blocks import plain
from bot.messages.render import Message, render
from bot.plan.planner import Chat, Delivery
from rules.alerts import Alert
from streams.durations import HOUR


def _sent(post: Post, chat: ChatState, now: int) -> str:
    return rendered(post, lines_below(post, chat, 60_000, now)).html


def samples(alerts: Mapping[str, Alert], language: str) -> dict[str, Message]:
    """``alerts``: one opening of each kind, and a closed one under ``closed``."""
    words = LANGUAGES[language]
    queue = [
        Post(
            key=name, chat="-1", number=n, message=render(alert, words), at=alert.at,
            expires=alert.at + HOUR, names=(alert.asset,), episodes=(name,), language=language,
        )
        for n, (name, alert) in enumerate(alerts.items())
    ]  # fmt: skip
    first, now = queue[0], queue[0].at
    behind = ChatState(destination=TelegramChat(-1), left=7, left_names=("SOL", "ETH", "XRP"))
    twice = msgspec.structs.replace(first, resend=True)
    texts = {
        "late, others left out": _sent(first, behind, now + 4 * 60_000),
        "sent again in doubt": _sent(twice, ChatState(destination=TelegramChat(-1)), now),
        "after a flood": digests(queue, "collapsed")[0].message.html,
        "critical, too many at once": digests(queue[:4], "rush")[0].message.html,
    }
    parts = (Delivery(alerts=(alerts["oi"],), at=now, silent=False, thread="t"),)
    for where in ("next", "market", "unwatched"):
        gone = msgspec.structs.replace(first, parts=parts, thread="t", goes_on=where)
        texts[f"goes on elsewhere: {where}"] = edited(gone).html
    messages = {name: as_message(first, text) for name, text in texts.items()}
    for phrase in ("off", "stuck", "flows", "failed", "moved", "topic"):
        trouble = DeliveryProblem(
            phrase=f"trouble.{phrase}", chat="@channel", alert=first.message.alert_id,
            reason="-100987" if phrase == "moved" else no_administrator("@channel"),
        )  # fmt: skip
        messages[f"trouble, {phrase}"] = problem_message(
            trouble, Chat(destination=TelegramChat(-9), language=language), now
        )
    spaces = str.maketrans({"\u00a0": " "})
    assert all(
        message.plain.translate(spaces) == plain(message.html).translate(spaces)
        for message in messages.values()
    )
    return messages
