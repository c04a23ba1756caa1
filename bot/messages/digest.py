"""A delivery → its message: one alert, or a digest of several. Pure.

A digest: how many and how much in all, the five worst, the rest folded away in a quote.
"""

from collections.abc import Sequence

import msgspec

from bot.lang.words import Words
from bot.messages.blocks import DIGEST_CHARS
from bot.messages.headline import (
    amount,
    cause_in_words,
    event_in_words,
    parts,
    window_ms,
    window_of,
)
from bot.messages.render import MARKS, OVER, Message, first_line, folded, footer, message_of, render
from bot.messages.voice import Html, Voice, say
from bot.plan.planner import Delivery
from rules.alerts import (
    Alert,
    CascadeFacts,
    Cause,
    DepthFacts,
    LiquidationFacts,
    OpenInterestFacts,
    Turn,
)

SHOWN = 5
"""Of the 4,096 characters that Telegram takes."""


def delivery_message(delivery: Delivery, words: Words) -> Message:
    """The message of ``delivery``."""
    held = sum(delivery.held.values())
    first, *others = delivery.alerts
    if delivery.title:
        return _titled(delivery, words, held)
    if others:
        return _digest(delivery, words, held)
    return render(
        first,
        words,
        silent=delivery.silent,
        hidden=delivery.hidden,
        held=held,
    )


def heads_of(delivery: Delivery, words: Words) -> list[Html]:
    """What of it cannot be left out: the first line of one alert, of a digest who is meant."""
    if delivery.title:
        return _titled_lines(delivery, words)
    if len(delivery.alerts) == 1:
        return [first_line(delivery.alerts[0], words, delivery.hidden)]
    return _digest_lines(delivery, words)


def _titled(delivery: Delivery, words: Words, held: int) -> Message:
    """A digest of several rules: the first line of each alert."""
    voice = Voice(max(delivery.alerts, key=lambda a: a.at), words)
    last = [voice.time(voice.alert.at), *([voice.say("held", count=str(held))] if held else [])]
    lines = [*_titled_lines(delivery, words), Html(" · ".join(last))]
    message = message_of(delivery.alerts[0], lines, delivery.silent, DIGEST_CHARS)
    return msgspec.structs.replace(message, asset="", at=voice.alert.at)


def _titled_lines(delivery: Delivery, words: Words) -> list[Html]:
    title = say(words, delivery.title, count=str(len(delivery.alerts)))
    return [title, *(first_line(alert, words) for alert in delivery.alerts)]


def _digest(delivery: Delivery, words: Words, held: int) -> Message:
    alerts = list(delivery.alerts)
    worst, latest = Voice(alerts[0], words), max(alerts, key=lambda a: a.at)
    lines = _digest_lines(delivery, words)
    lines.append(footer(Voice(latest, words), held, single=False))
    message = message_of(worst.alert, lines, delivery.silent, DIGEST_CHARS)
    return msgspec.structs.replace(message, at=latest.at)


def _digest_lines(delivery: Delivery, words: Words) -> list[Html]:
    """All lines but the last."""
    alerts = list(delivery.alerts)
    worst = Voice(alerts[0], words)
    close = worst.alert.turn is Turn.CLOSE
    mark = OVER if close else MARKS[max(a.level for a in alerts)]
    marked = not close and len({a.level for a in alerts}) > 1
    items = [_item(Voice(a, words), marked) for a in alerts]
    lines = [Html(f"{mark} {_head(worst, delivery)}"), *_list(worst, items)]
    return lines + folded(worst, delivery.hidden)


def _list(voice: Voice, items: list[Html]) -> list[Html]:
    """The worst ones, and a quote that unfolds to the rest."""
    between = "\n" if voice.topic == "cascade" else " · "
    lines = [voice.say(_list_key(voice), list=Html(between.join(items[:SHOWN])))]
    if rest := items[SHOWN:]:
        listed = Html(between.join(rest))
        text = voice.say("digest.rest", count=str(len(rest)), list=listed)
        lines.append(Html(f"<blockquote expandable>{text}</blockquote>"))
    return lines


def _head(voice: Voice, delivery: Delivery) -> Html:
    alert, topic = voice.alert, _known(voice)
    count = str(len(delivery.alerts))
    more = delivery.joined and all(a.turn is Turn.OPEN for a in delivery.alerts)
    coins = voice.say("digest.joined" if more else "digest.count", count=count)
    rule = alert.family or alert.rule
    if alert.turn is Turn.CLOSE:
        event = event_in_words(voice.words, _same_cause(delivery.alerts))
        return voice.say(f"digest.end.{topic}", coins=coins, rule=rule, event=event)
    negative = all(a.value < 0 for a in delivery.alerts)
    state = "high" if voice.above else "negative" if negative else "low"
    cause = cause_in_words(voice.words, _same_cause(delivery.alerts))
    ways = ("digest.thick", "digest.thin") if topic == "depth" else ("digest.rises", "digest.falls")
    return voice.say(
        f"digest.{topic}",
        coins=coins,
        rule=rule,
        state=voice.say(f"funding.{state}"),
        moves=voice.say(ways[0] if voice.above else ways[1]),
        window=_window(voice, delivery.alerts),
        total=_total(voice, delivery.alerts),
        event=event_in_words(voice.words, _same_cause(delivery.alerts)),
        cause=voice.say("cause", cause=cause) if cause else cause,
    )


def _same_cause(alerts: Sequence[Alert]) -> Cause | None:
    """What is happening, if it is the same everywhere."""
    causes = {a.cause for a in alerts}
    return causes.pop() if len(causes) == 1 else None


def _known(voice: Voice) -> str:
    """The topic; market-wide ones never come in numbers, but they have a name to be told by."""
    return "other" if voice.topic in ("total", "breadth", "falls") else voice.topic


def _list_key(voice: Voice) -> str:
    match voice.topic:
        case "funding" | "predicted":
            return "digest.rates"
        case "depth":
            return "digest.normal"
        case _:
            return "digest.values"


def _item(voice: Voice, marked: bool) -> Html:
    """``WLFI −0.84``, with the mark of its level where levels differ."""
    alert = voice.alert
    if isinstance(alert.facts, CascadeFacts):
        text, key = parts(voice.words, alert.facts), "digest.cascade_item"
    else:
        text, key = amount(voice.words, voice.topic, alert.value, alert.unit), "digest.item"
    item = voice.say(key, asset=alert.asset, value=text)
    return Html(f"{MARKS[alert.level]} {item}") if marked else item


def _window(voice: Voice, alerts: Sequence[Alert]) -> Html:
    """The window, if it is the same for all."""
    windows = {window_ms(a.facts) for a in alerts}
    return window_of(voice.words, alerts[0].facts) if len(windows) == 1 else Html()


def _total(voice: Voice, alerts: Sequence[Alert]) -> Html:
    """What all of them come to in USD; nothing if that is not known of each."""
    usd = [_usd(a) for a in alerts]
    known = [x for x in usd if x is not None]
    if voice.topic == "usual":
        return Html()
    if not known or len(known) < len(usd) or len({a.metric for a in alerts}) > 1:
        return Html()
    total = sum(known)
    match voice.topic:
        case "oi":
            key = "digest.oi_closed" if total < 0 else "digest.oi_opened"
        case "depth":
            key = "digest.depth_lost"
        case _:
            return voice.say("digest.liq_sum", usd=voice.words.usd_at_least(total))
    return voice.say(key, usd=voice.words.usd(total))


def _usd(alert: Alert) -> float | None:
    match alert.facts:
        case OpenInterestFacts(net_usd=net):
            return net
        case LiquidationFacts():
            return alert.value * 1e6
        case DepthFacts() as facts if alert.fires == "below":
            return facts.normal_usd - facts.bid_usd - facts.ask_usd
        case _:
            return None
