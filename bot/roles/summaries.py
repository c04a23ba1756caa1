"""The summaries of the chats that want them: looked up and put in words when they are due.

What is due is handed over to the role, which keeps and posts it. One for which nothing could be
looked up waits, and is left out when the time for it is over.
"""

from collections.abc import Sequence

import msgspec
import structlog
from redis.asyncio import Redis

from bot.commands import store
from bot.commands.context import Asker, Context
from bot.commands.summary import summary_body, summary_head
from bot.config import Settings
from bot.lang import LANGUAGES
from bot.messages.voice import Html
from bot.plan.planner import Chat
from bot.plan.summaries import DueSummary, SummaryPosts, due_summary
from rules.alerts import Alert
from streams.clock import Clock

log = structlog.get_logger()

_NOBODY = Asker(user=0, name="", private=False)


class MadeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A summary that is to be posted in a chat."""

    chat: str
    """The key of the chat."""
    due: DueSummary
    head: Html
    body: Html


class Summaries:
    """Looks which summaries are due, and makes them."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self.kept = SummaryPosts()
        """What is durable of those that were posted."""
        self.made: list[MadeSummary] = []
        """Those that nobody has taken yet."""
        self._redis = redis
        self._clock = clock

    async def look(self, settings: Settings, chats: Sequence[Chat]) -> None:
        """Make all that are due now. Raises RedisError, OSError or TimeoutError as usual."""
        now = self._clock.seen()
        due: list[tuple[Chat, DueSummary]] = []
        for chat in chats:
            posted = self.kept.posted.get(chat.key)
            if chat.summary and (summary := due_summary(chat.summary, posted, now)):
                due.append((chat, summary))
        if not due:
            return
        standing = await store.standing(self._redis)
        reports = await store.role_reports(self._redis)
        alerts = await store.alerts_since(self._redis, min(summary.since for _, summary in due))
        for chat, summary in due:
            context = Context(
                settings=settings, words=LANGUAGES[chat.language], now=now, asker=_NOBODY,
                standing=standing, reports=reports, alerts=alerts,
            )  # fmt: skip
            half = summary.at + (summary.expires - summary.at) // 2
            if context.fresh is None and now < half:
                continue  # the rules have been started a moment ago, perhaps
            self._make(summary, chat, context)

    def _make(self, due: DueSummary, chat: Chat, context: Context) -> None:
        def wanted(alert: Alert) -> bool:
            return chat.matches(alert)

        try:
            head, body = summary_head(due, context), summary_body(due, wanted, context)
        except Exception:  # it must not keep others from theirs
            log.exception("a summary failed as nobody has foreseen", chat=chat.key)
            head, body = Html(), Html()
        self.made.append(MadeSummary(chat=chat.key, due=due, head=head, body=body))
