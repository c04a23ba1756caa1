"""Logs: lines of key=value or JSON on stderr, without secrets and unprintable characters.

Event names are in the past tense ("socket lost"). Libraries that log through ``logging`` come out
of the same pipe; httpx is kept quiet since it logs URLs, and Telegram's URLs hold the token.
"""

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bot.redaction import redact
from streams.text import printable

_FIRST = ("timestamp", "level", "event")


def redact_processor(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: every value that is not a number or None as redacted text."""
    return {key: _clean(value) for key, value in event.items()}


def _clean(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return _shown(redact(str(value)))


def _shown(text: str) -> str:
    # line breaks, as tracebacks have them, are escaped by the renderer
    return "\n".join(printable(line, None) for line in text.split("\n"))


def configure(
    level: str = "INFO", stream: TextIO | None = None, form: Literal["logfmt", "json"] = "logfmt"
) -> None:
    """Send all logs of ``level`` and above to ``stream`` (stderr), one line each. Called at start,
    and again once the configuration is known."""
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_processor,
    ]
    render = (
        structlog.processors.JSONRenderer(serializer=_json)
        if form == "json"
        else structlog.processors.LogfmtRenderer(key_order=_FIRST, drop_missing=True)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    sys.excepthook = _crashed
    sys.unraisablehook = _unraisable
    threading.excepthook = _crashed_thread
    logging.captureWarnings(True)
    quiet_http()


def _json(event: EventDict, **_: object) -> str:
    ordered = {key: event[key] for key in _FIRST if key in event} | dict(event)
    return msgspec.json.encode(ordered).decode()


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python prints as it ends, without secrets."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _crashed_thread(what: threading.ExceptHookArgs) -> None:
    error = what.exc_value or what.exc_type()
    _crashed(what.exc_type, error, what.exc_traceback)


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    error = what.exc_value or what.exc_type()
    _crashed(what.exc_type, error, what.exc_traceback)


def quiet_http() -> None:
    """Keep the HTTP client from logging URLs, which for Telegram hold the token."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # a traceback for each answer that is a web page; the sink says it in a sentence
    logging.getLogger("telegram.request.BaseRequest").setLevel(logging.CRITICAL)
