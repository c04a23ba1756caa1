"""The weekly reports of the chats that want one: made outside the process when they are due.

What became of each is handed over to the role, which keeps and posts it. A report that cannot be
made delays nothing else, and is tried again as long as it is news.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from bot.config import Settings
from bot.plan.planner import Chat
from bot.plan.weekly import DueReport, WeeklyPosts, due_report
from bot.redaction import redact
from streams.clock import Clock
from streams.events import Ms, length_in_words
from streams.text import printable

log = structlog.get_logger()

AGAIN_S = 600.0
"""After a report that could not be made, the next attempt."""

LONGEST_S = 600
"""A report that takes longer is given up."""

MISSED = "Lowtide was not running at its time, nor for a day after it"
_NICE = 10
_REASON_CHARS = 200

Maker = Callable[[Settings, Ms, str], Awaitable[str]]
"""Settings, the Monday of a week, a language → the report as plain text, or ReportFailed."""


class ReportFailed(Exception):
    """A report could not be made; the text says why."""


class ReportOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the report that was due in a chat."""

    chat: str
    """The key of the chat."""
    due: DueReport
    text: str = ""
    """The report; "": there is none."""
    reason: str = ""
    """Why there is none."""


class WeeklyReports:
    """Looks which reports are due, and has them made one after the other.

    ``make`` is ``make_report`` unless a test has another.
    """

    def __init__(self, clock: Clock, make: Maker) -> None:
        self.kept = WeeklyPosts()
        """What is durable of those that were posted."""
        self.outcomes: list[ReportOutcome] = []
        """Those that nobody has taken yet."""
        self._clock = clock
        self._make = make
        self._again: dict[Ms, float] = {}
        """Week → when its report is tried again, s of the loop's clock."""

    async def look(self, settings: Settings, chats: Sequence[Chat]) -> None:
        """Add the outcomes of all reports that are due now."""
        now, texts = self._clock.seen(), dict[tuple[Ms, str], str]()
        time = asyncio.get_running_loop().time()
        self._again = {week: at for week, at in self._again.items() if at > time}
        for chat in chats:
            if chat.weekly_report is None:
                continue
            due = due_report(chat.weekly_report, self.kept.posted.get(chat.key), now)
            if due is None or due.week in self._again:
                continue
            text, reason = "", MISSED
            if not due.too_late:
                text, reason = await self._made(settings, due.week, chat.language, texts)
            outcome = ReportOutcome(chat=chat.key, due=due, text=text, reason=reason)
            self.outcomes.append(outcome)

    async def _made(
        self, settings: Settings, week: Ms, language: str, texts: dict[tuple[Ms, str], str]
    ) -> tuple[str, str]:
        """The report, or why there is none. ``texts``: those that were made just now."""
        if (week, language) in texts:
            return texts[week, language], ""
        try:
            texts[week, language] = await self._make(settings, week, language)
        except ReportFailed as error:
            reason = str(error)
        except Exception as error:  # whatever it is costs the report alone
            log.exception("a weekly report failed as nobody has foreseen")
            reason = f"a fault of Lowtide's own, see its log ({type(error).__name__})"
        else:
            return texts[week, language], ""
        self._again[week] = asyncio.get_running_loop().time() + AGAIN_S
        return "", reason


async def make_report(settings: Settings, week: Ms, language: str) -> str:
    """The report as ``lowtide report`` prints it, in a process of its own, which gives its memory
    back, and way to the roles. Raises ReportFailed."""
    monday = f"{datetime.fromtimestamp(week / 1000, UTC):%Y-%m-%d}"
    command = [sys.executable, "-m", "bot", "report", "--config", str(settings.path)]
    command += ["--week", monday, "--lang", language]
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise ReportFailed(f"no process could be started ({error.strerror})") from None
    try:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        async with asyncio.timeout(LONGEST_S):
            output, errors = await process.communicate()
    except TimeoutError:
        raise ReportFailed(f"it took longer than {length_in_words(LONGEST_S * 1000)}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode("utf-8", "replace").strip()
    if process.returncode or not text:
        lines = errors.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        reason = last.removeprefix("cannot report: ") or f"its process ended ({process.returncode})"
        raise ReportFailed(printable(redact(reason), _REASON_CHARS))
    return text
