"""Alert → text. Pure: the words come from ``bot.lang``, the facts from the alert.

Every message: a first line that makes sense alone on a lock screen, one fact per line, a unit on
every number, a last line with hashtags and time, at most 500 characters (Telegram limits longer
ones sooner). What is unknown is left out. Whatever comes from a venue is escaped.
"""

import html
import re
from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec

from bot.fact_lines import fact_lines
from bot.lang import numbers
from bot.lang.words import Words
from bot.voice import Html, Voice, title
from rules.alerts import (
    Alert,
    DepthFacts,
    FundingFacts,
    Level,
    LiquidationFacts,
    OpenInterestFacts,
    Turn,
)
from streams.events import Ms

MAX_CHARS = 500
HOUR: Ms = 3_600_000
MINUTE: Ms = 60_000

_MARKS = {Level.WATCH: "🟡", Level.ALERT: "🟠", Level.CRITICAL: "🔴"}
_LINK = re.compile(r'<a href="([^"]*)">([^<]*)</a>')
_TAG = re.compile(r"<[^>]+>")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink sends. ``html`` and ``plain`` say the same; ``silent``: without a sound."""

    alert_id: str
    asset: str
    rule: str
    turn: Turn
    level: Level
    silent: bool
    html: str
    plain: str
    at: Ms


def render(alert: Alert, words: Words, charts: str | None = None) -> Message:
    """The message of ``alert`` in one language.

    ``charts``: URL of a chart with ``{metric}`` and ``{asset}`` in it, None for no link.
    """
    voice = Voice(alert, words)
    lines = [_close(voice)] if alert.turn is Turn.CLOSE else _lines(voice, charts)
    text = "\n".join(_fitting(lines))
    return Message(
        alert_id=alert.id,
        asset=alert.asset,
        rule=alert.rule,
        turn=alert.turn,
        level=alert.level,
        silent=alert.turn is Turn.CLOSE or alert.level is Level.WATCH,
        html=text,
        plain=plain(text),
        at=alert.at,
    )


def plain(text: str) -> str:
    """Telegram HTML as plain text; a link keeps its address."""
    return html.unescape(_TAG.sub("", _LINK.sub(r"\2: \1", text)))


def _lines(voice: Voice, charts: str | None) -> list[Html]:
    first = Html(f"{_MARKS[voice.alert.level]} {_head(voice)}")
    facts = [*fact_lines(voice), *_missing(voice), *_history(voice)]
    return [first, *(fact for fact in facts if fact), _footer(voice, charts)]


def _fitting(lines: Sequence[Html]) -> list[Html]:
    """Whole lines are left out, from the end of the facts, until the rest fits."""
    kept = list(lines)
    while len(kept) > 2 and len(_TAG.sub("", "\n".join(kept))) > MAX_CHARS:
        del kept[-2]
    return kept


def _head(voice: Voice) -> Html:
    alert = voice.alert
    values = {"asset": alert.asset, "level": voice.say(f"level.{alert.level.value}")}
    return voice.say(f"{voice.family}.{alert.turn}", **values, **_PLACES[voice.family](voice))


def _funding_places(voice: Voice) -> dict[str, str]:
    alert = voice.alert
    state = "high" if voice.above else "negative" if alert.value < 0 else "low"
    flipped = not voice.above and alert.extreme < 0 < alert.value
    return {
        "state": voice.say(f"funding.{state}"),
        "further": voice.say(f"funding.further_{state}"),
        "back": voice.say("funding.back_positive" if flipped else "funding.back"),
        "rate": numbers.rate(alert.value),
        "apr": numbers.percent(alert.value * 3 * 365),
    }


def _oi_places(voice: Voice) -> dict[str, str]:
    alert, facts = voice.alert, voice.alert.facts
    known = facts if isinstance(facts, OpenInterestFacts) else None
    closed = Html()
    if known and known.net_usd:
        fell = "oi.fell" if known.net_usd < 0 else "oi.rose"
        closed = voice.say(fell, usd=voice.words.usd(known.net_usd))
    return {
        "pct": numbers.change(alert.value),
        "window": _window(voice, known),
        "closed": closed,
        "further": voice.say(f"oi.further_{alert.fires}"),
    }


def _depth_places(voice: Voice) -> dict[str, str]:
    alert, facts, words = voice.alert, voice.alert.facts, voice.words
    band, total = Html(), Html()
    if isinstance(facts, DepthFacts):
        band = voice.say("depth.band", band=f"{facts.band_bp / 100:g}")
        total = voice.say("depth.total", usd=words.usd(facts.bid_usd + facts.ask_usd))
    return {
        "band": band,
        "total": total,
        "pct": numbers.share(alert.value),
        "further": voice.say(f"depth.further_{alert.fires}"),
    }


def _liq_places(voice: Voice) -> dict[str, str]:
    facts = voice.alert.facts
    known = facts if isinstance(facts, LiquidationFacts) else None
    mostly = Html()
    if known and known.long_usd + known.short_usd > 0:
        longs = 100 * known.long_usd / (known.long_usd + known.short_usd)
        side, pct = ("liq.longs", longs) if longs >= 50 else ("liq.shorts", 100 - longs)
        mostly = voice.say(side, pct=numbers.share(pct))
    return {
        "usd": voice.words.usd(voice.alert.value * 1e6),
        "window": _window(voice, known),
        "mostly": mostly,
    }


def _other_places(voice: Voice) -> dict[str, str]:
    alert = voice.alert
    return {"rule": alert.rule, "value": numbers.trimmed(alert.value, 4), "unit": alert.unit}


def _window(voice: Voice, facts: OpenInterestFacts | LiquidationFacts | None) -> Html:
    return voice.say("window", window=voice.words.window(facts.window_ms)) if facts else Html()


_PLACES: dict[str, Callable[[Voice], dict[str, str]]] = {
    "funding": _funding_places,
    "predicted": _funding_places,
    "oi": _oi_places,
    "depth": _depth_places,
    "liq": _liq_places,
    "other": _other_places,
}


def _close(voice: Voice) -> Html:
    """One line: where it is now, how long it lasted, how far it went."""
    alert = voice.alert
    none = voice.family == "liq" and alert.value == 0
    first = (
        voice.say("liq.close_none", asset=alert.asset, **_liq_places(voice))
        if none
        else _head(voice)
    )
    thin = voice.family == "depth" and not voice.above
    length = voice.words.length(max(0, alert.seen - alert.opened_at))
    lasted = voice.say("lasted.thin" if thin else "lasted", length=length)
    value = _extreme(voice)
    side = "peak" if voice.family == "liq" else "high" if voice.above else "low"
    far = voice.say(f"extreme.{side}", value=value, time=voice.time(alert.extreme_at))
    return Html(" ".join([f"⚪ {first}", f"{lasted}{far}", *_missing(voice)]))


def _extreme(voice: Voice) -> str:
    value = voice.alert.extreme
    match voice.family:
        case "funding" | "predicted":
            return f"{numbers.rate(value)}% / 8h"
        case "oi":
            return f"{numbers.change(value)}%"
        case "depth":
            return f"{numbers.share(value)}%"
        case "liq":
            return voice.words.usd(value * 1e6)
        case _:
            return f"{numbers.trimmed(value, 4)} {voice.alert.unit}"


def _missing(voice: Voice) -> list[Html]:
    names = ", ex-".join(title(venue) for venue in voice.alert.missing)
    return [voice.say("missing", venues=names)] if names else []


def _history(voice: Voice) -> list[Html]:
    alert = voice.alert
    lines: list[Html] = []
    if alert.turn in (Turn.UP, Turn.WORSE):
        length = voice.words.length(max(0, alert.seen - alert.opened_at))
        lines.append(voice.say("began", time=voice.time(alert.opened_at), length=length))
    if alert.held:
        lines.append(
            voice.say("held_one" if alert.held == 1 else "held_many", count=str(alert.held))
        )
    return lines


def _footer(voice: Voice, charts: str | None) -> Html:
    alert, facts = voice.alert, voice.alert.facts
    tag = re.sub(r"\W", "", alert.asset)
    tags = [f"#{tag}"] if tag else []
    tags.append(voice.say(f"tag.{voice.family}", rule=alert.rule))
    time = voice.time(alert.at)
    if isinstance(facts, FundingFacts):
        time = _rate_time(voice, facts)
    parts = [" ".join(tags), time]
    if charts:
        address = charts.replace("{metric}", quote(alert.metric, safe=""))
        address = html.escape(address.replace("{asset}", quote(alert.asset, safe="")))
        parts.append(f'<a href="{address}">{voice.say("chart")}</a>')
    return Html(" · ".join(parts))


def _rate_time(voice: Voice, facts: FundingFacts) -> Html:
    """Venues settle on the full hour; an alert at another time was not caused by a settlement."""
    time = voice.time(voice.alert.at)
    if not facts.settled:
        return voice.say("estimate", time=time)
    return voice.say("settled", time=time) if voice.alert.at % HOUR < MINUTE else time
