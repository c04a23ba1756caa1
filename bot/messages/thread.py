"""A delivery → its message: one alert, or all that is known of one event. Pure.

The first line says how it is and how bad it has been. An event of one rule on many coins is a list,
the five worst first and the rest folded away in a quote; any other event of the market has a line
for each coin. Once it is over the message says how long it took, how far it went, and what the
price has done since.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from bot.lang import numbers
from bot.lang.words import Words
from bot.messages.blocks import DIGEST_CHARS, POST_CHARS
from bot.messages.facts import fact_lines, without
from bot.messages.headline import (
    amount,
    at_least,
    cause_in_words,
    event_in_words,
    metric_name,
    parts,
    regime_in_words,
    regime_of,
    window_ms,
    window_of,
)
from bot.messages.render import (
    BESIDE,
    MARKS,
    OVER,
    Message,
    first_line,
    footer,
    message_of,
    missing,
    release_line,
    render,
    tags,
    was_worse,
)
from bot.messages.voice import Html, Voice, say, topic
from bot.plan.planner import Delivery, severity
from rules.alerts import (
    ALL,
    Alert,
    CascadeFacts,
    Cause,
    DepthFacts,
    Level,
    Liquidated,
    LiquidationFacts,
    OpenInterestFacts,
    Turn,
)
from streams.durations import MINUTE
from streams.events import Ms

replace = msgspec.structs.replace

SHOWN = 5
"""So many coins of a list are shown at once."""

COINS = 6
"""So many coins of an event of the market have a line each."""

PARTS = 4
"""So many values of a coin are in its line, and so many of what is over."""

_MOST = 20

_ORDER = ("price", "oi", "liq", "depth", "funding", "predicted")
"""The topics that a part of a line tells of, in the order in which they are read."""


def delivery_message(delivery: Delivery, words: Words) -> Message:
    """The message of ``delivery``."""
    held = sum(delivery.held.values())
    first = delivery.alerts[0]
    if delivery.recap:
        return _recap(delivery, words)
    if not delivery.thread and len(delivery.alerts) == 1:
        return render(first, words, silent=delivery.silent, held=held)
    if _is_over(delivery):
        return _over(delivery, words)
    if _rules(delivery.alerts) == 1 and len(assets_of(delivery.alerts)) == 1:
        first = _turned(first, delivery)
        return render(first, words, silent=delivery.silent, held=held)
    if len(assets_of(delivery.alerts)) == 1 and first.asset != ALL:
        return _coin(delivery, words, held)
    if _is_list(delivery):
        return _digest(delivery, words, held)
    return _market(delivery, words, held)


def heads_of(delivery: Delivery, words: Words) -> list[Html]:
    """What of it cannot be left out: the first line, and of a list who is meant."""
    if len(delivery.alerts) > 1 and not _is_over(delivery) and _is_list(delivery):
        return _digest_lines(delivery, words)
    first, *_ = delivery_message(delivery, words).html.split("\n")
    return [Html(first)]


def assets_of(alerts: Iterable[Alert]) -> list[str]:
    """The assets, ``ALL`` among them, in the order of the alerts."""
    return list(dict.fromkeys(alert.asset for alert in alerts))


def _is_over(delivery: Delivery) -> bool:
    over = all(alert.turn is Turn.CLOSE for alert in delivery.alerts)
    return over or delivery.turn is Turn.CLOSE


def _rules(alerts: Iterable[Alert]) -> int:
    """How many rules have spoken, whatever their windows."""
    return len({alert.family or alert.rule for alert in alerts})


def _turned(alert: Alert, delivery: Delivery) -> Alert:
    """``alert``, the worst of several windows of one rule, as the delivery tells of it."""
    if len(delivery.alerts) == 1 or delivery.turn not in (Turn.UP, Turn.WORSE):
        return alert
    return replace(alert, turn=delivery.turn)


def _is_list(delivery: Delivery) -> bool:
    """Whether one rule on many coins makes up the event."""
    families = {(alert.family or alert.rule, alert.fires) for alert in delivery.alerts}
    return len(families) == 1 and delivery.alerts[0].asset != ALL


# One coin.


def _coin(delivery: Delivery, words: Words, held: int) -> Message:
    """An event of one coin in which several things happen."""
    alerts = delivery.alerts
    latest = Voice(max(alerts, key=lambda alert: alert.seen), words)
    composite = _composite(alerts)
    mark = MARKS[max(alert.level for alert in alerts)]
    listed = _values(alerts, words)
    lines = [Html(f"{mark} {_coin_head(delivery, composite, listed, words)}")]
    if composite is not None:
        lines += fact_lines(Voice(composite, words))
    else:
        lines += [latest.price(), _order(alerts, latest)]
    lines += [*missing(latest), *_release(alerts, words), *_began(delivery, latest)]
    last = _footer(alerts, latest, held)
    return message_of(
        alerts[0], [*(line for line in lines if line), last], delivery.silent, POST_CHARS
    )


def _coin_head(delivery: Delivery, composite: Alert | None, listed: Html, words: Words) -> Html:
    alerts = delivery.alerts
    turn = _turn(delivery, words)
    if composite is not None:
        event = event_in_words(words, composite.cause)
        key = "thread.event"
        return say(words, key, asset=alerts[0].asset, event=event, turn=turn, values=listed)
    cause = cause_in_words(words, next((a.cause for a in alerts if a.cause is not None), None))
    suffix = say(words, "cause", cause=cause) if cause else cause
    return say(words, "thread.coin", asset=alerts[0].asset, turn=turn, values=listed, cause=suffix)


def _turn(delivery: Delivery, words: Words) -> Html:
    """``, now critical`` or `` gets worse``, of a post that rings again."""
    if delivery.turn is Turn.UP:
        level = say(words, f"level.{max(alert.level for alert in delivery.alerts).value}")
        return say(words, "thread.up", level=level)
    return say(words, "thread.worse") if delivery.turn is Turn.WORSE else Html()


def _composite(alerts: Iterable[Alert]) -> Alert | None:
    """The composite that tells of the others, the worst of several."""
    return next((a for a in alerts if isinstance(a.facts, CascadeFacts)), None)


def _values(alerts: Sequence[Alert], words: Words, most: int = _MOST) -> Html:
    """What happens to one coin, each rule once, by its worst window: present value and worst; and
    what is over. ``most``: so many values at most."""
    chosen: dict[str, Alert] = {}
    for alert in sorted(alerts, key=severity):
        if not isinstance(alert.facts, CascadeFacts):
            chosen.setdefault(alert.family or alert.rule, alert)
    ordered = sorted(chosen.values(), key=_reading_order)
    values = [_value(alert, words) for alert in ordered if alert.turn is not Turn.CLOSE]
    values += _unseen(alerts, chosen, words)
    over = [_value(alert, words, at_worst=True) for alert in ordered if alert.turn is Turn.CLOSE]
    texts = [Html(words.comma.join(values[:most]))] if values else []
    if over:
        texts.append(say(words, "thread.over", list=Html(words.comma.join(over[:most]))))
    return Html(words.semicolon.join(texts))


def _unseen(alerts: Iterable[Alert], chosen: Collection[str], words: Words) -> list[Html]:
    """What a composite tells of and nothing else does."""
    composite = _composite(alerts)
    if composite is None or not isinstance(composite.facts, CascadeFacts):
        return []
    facts = composite.facts
    links = [link for link in (*facts.chain, *facts.also) if link.family not in chosen]
    return [parts(words, replace(facts, chain=tuple(links), also=()))] if links else []


def _reading_order(alert: Alert) -> tuple[bool, int]:
    """What goes on first; the price before what is behind it."""
    of = topic(alert.metric)
    return alert.turn is Turn.CLOSE, _ORDER.index(of) if of in _ORDER else len(_ORDER)


def _value(alert: Alert, words: Words, *, at_worst: bool = False) -> Html:
    """``OI −4.2% (worst −9.4%) in 1h``."""
    of = topic(alert.metric)
    now, worst = (amount(words, of, value, alert.unit) for value in (alert.value, alert.extreme))
    value: str = worst if at_worst else now
    if not at_worst and was_worse(alert, words) and of not in ("funding", "predicted"):
        value = say(words, "thread.worst", now=now, worst=worst)
    window = window_of(words, alert.facts)
    if of in _ORDER:
        return say(words, f"part.{of}", value=value, window=window)
    if of in ("total", "breadth", "falls"):
        return say(words, f"thread.{of}", value=value, window=window)
    if of == "regime":
        return say(words, "thread.regime", regime=regime_in_words(words, regime_of(alert.metric)))
    if of == "structure":
        return say(words, "thread.structure", what=metric_name(words, alert.metric), value=value)
    return say(words, "part.other", rule=alert.family or alert.rule, value=value)


def _order(alerts: Sequence[Alert], voice: Voice) -> Html:
    """``20:54 depth · 20:59 liquidations``: in which order it began."""
    began: dict[str, Ms] = {}
    for alert in sorted(alerts, key=lambda alert: alert.opened_at):
        began.setdefault(alert.family or alert.rule, Voice(alert, voice.words).began)
    if len(began) < 2:
        return Html()
    by_family = {alert.family or alert.rule: alert for alert in alerts}
    steps = [
        f"{voice.bare_time(at)} {_name(by_family[family], voice.words)}"
        for family, at in began.items()
    ]
    return Html(voice.words.dot.join(steps))


def _name(alert: Alert, words: Words) -> Html:
    of = topic(alert.metric)
    known = of if of in _ORDER else "other"
    return say(words, f"thread.name.{known}", rule=alert.family or alert.rule)


def _began(delivery: Delivery, voice: Voice) -> list[Html]:
    length = None if delivery.began is None else voice.alert.seen - delivery.began
    if delivery.began is None or length is None or length < 2 * MINUTE:
        return []
    time = voice.our_time(delivery.began)
    return [voice.say("began", time=time, length=voice.words.length(length))]


def _release(alerts: Iterable[Alert], words: Words) -> list[Html]:
    """Within an hour of which announcement the event is, if of any."""
    beside = [alert for alert in alerts if alert.release is not None]
    return release_line(Voice(beside[0], words)) if beside else []


def _footer(alerts: Sequence[Alert], latest: Voice, held: int) -> Html:
    named = [tag for alert in alerts for tag in tags(Voice(alert, latest.words))]
    last = [" ".join(dict.fromkeys(named)), latest.time(latest.alert.at)]
    return Html(BESIDE.join([*last, *([latest.say("held", count=str(held))] if held else [])]))


# The market.


def _market(delivery: Delivery, words: Words, held: int) -> Message:
    """An event of the market: a line for the market and one for each coin."""
    alerts = delivery.alerts
    latest = Voice(max(alerts, key=lambda alert: alert.seen), words)
    whole = [alert for alert in alerts if alert.asset == ALL]
    mark = MARKS[max(alert.level for alert in alerts)]
    lines = [Html(f"{mark} {_market_head(delivery, words)}")]
    lines += [Html(f"{_mark(alert)} {_value(alert, words)}") for alert in whole[1:]]
    lines += _coin_lines(alerts, words)
    lines += [*_release(alerts, words), *_began(delivery, latest)]
    lines.append(_market_footer(latest, held))
    message = message_of(alerts[0], lines, delivery.silent, DIGEST_CHARS)
    return replace(message, asset="", at=latest.alert.at)


def _market_head(delivery: Delivery, words: Words, lasted: Html | None = None) -> Html:
    """``lasted``: of an event that is over, how long it took."""
    alerts, at_worst = delivery.alerts, lasted is not None
    coins = [asset for asset in assets_of(alerts) if asset != ALL]
    value = Html(words.comma.join(_leads(alerts, words, at_worst=at_worst)))
    subject = say(words, "thread.market")
    if len(coins) > 1:
        subject = say(words, "digest.count", count=str(len(coins)))
    composites = [alert for alert in alerts if isinstance(alert.facts, CascadeFacts)]
    event = Html()
    if composites:
        event = say(words, "cause", cause=event_in_words(words, _same_cause(composites)))
    if lasted is not None:
        key = "thread.market_over"
        return say(words, key, subject=subject, event=event, lasted=lasted, value=value)
    turn = _turn(delivery, words)
    return say(words, "thread.head", subject=subject, event=event, turn=turn, value=value)


def _leads(alerts: Sequence[Alert], words: Words, *, at_worst: bool) -> list[Html]:
    """What says most of the market: its own worst value and the worst price, else what happens to
    the worst coin. Each value names its coin: those of several side by side are nobody's."""
    single = [alert for alert in alerts if not isinstance(alert.facts, CascadeFacts)]
    known = [alert for alert in single if at_worst or alert.turn is not Turn.CLOSE]
    if known:
        return _lead_values(known, words, at_worst=at_worst)
    if single:  # a composite goes on for a while after its parts: how far they went
        over = _lead_values(single, words, at_worst=True)
        return [say(words, "thread.over", list=Html(words.comma.join(over)))]
    worst = alerts[0].asset
    of_worst = [alert for alert in alerts if alert.asset == worst]
    return [_of_coin(worst, _values(of_worst, words), words)]


def _lead_values(alerts: Sequence[Alert], words: Words, *, at_worst: bool) -> list[Html]:
    ordered = sorted(alerts, key=_by_extreme) if at_worst else alerts
    whole = [alert for alert in ordered if alert.asset == ALL]
    prices = [alert for alert in ordered if topic(alert.metric) == "price"]
    leads = [*whole[:1], *prices[:1]] or ordered[:1]
    return [_of_coin(a.asset, _value(a, words, at_worst=at_worst), words) for a in leads]


def _of_coin(asset: str, value: Html, words: Words) -> Html:
    return value if asset == ALL else say(words, "digest.item", asset=asset, value=value)


def _mark(alert: Alert) -> str:
    return OVER if alert.turn is Turn.CLOSE else MARKS[alert.level]


def _coin_lines(alerts: Sequence[Alert], words: Words, *, at_worst: bool = False) -> list[Html]:
    """The worst coins with a line each, and a quote that unfolds to the rest."""
    by_coin: dict[str, list[Alert]] = {}
    for alert in alerts:
        if alert.asset != ALL:
            by_coin.setdefault(alert.asset, []).append(alert)
    lines = [_coin_line(asset, of, words, at_worst=at_worst) for asset, of in by_coin.items()]
    return _folded(lines, words)


def _coin_line(asset: str, alerts: Sequence[Alert], words: Words, *, at_worst: bool) -> Html:
    values = _values(alerts, words, PARTS)
    if at_worst:
        values = Html(words.comma.join(_worst_values(alerts, words)[:PARTS]))
    item = say(words, "digest.cascade_item", asset=asset, value=values)
    return item if at_worst else Html(f"{_mark(alerts[0])} {item}")


def _market_footer(latest: Voice, held: int) -> Html:
    last = [latest.say("tag.market"), latest.time(latest.alert.at)]
    return Html(BESIDE.join([*last, *([latest.say("held", count=str(held))] if held else [])]))


# The end.


def _over(delivery: Delivery, words: Words) -> Message:
    """What became of an event that is over, and what the price has done since."""
    alerts = delivery.alerts
    latest = Voice(max(alerts, key=lambda alert: alert.seen), words)
    coins = [asset for asset in assets_of(alerts) if asset != ALL]
    single = len(coins) == 1 and len(assets_of(alerts)) == 1
    after = _since(delivery, words, coins)
    price = latest.alert.price if single else None
    then = latest.say("thread.price_then", price=words.price(price)) if price else Html()
    if single and _rules(alerts) == 1:
        alert = min(alerts, key=_by_extreme)
        lines = [first_line(replace(alert, turn=Turn.CLOSE), words)]
    elif single:
        lines = [Html(f"{OVER} {_coin_over(delivery, latest)}")]
    else:
        lines = [
            Html(f"{OVER} {_market_head(delivery, words, _lasted(delivery, latest))}"),
            *_coin_lines(alerts, words, at_worst=True),
        ]
    last = _footer(alerts, latest, 0) if single else _market_footer(latest, 0)
    if not delivery.thread:
        last = footer(latest, 0, single=False)
    text = [latest.sentences(then, after), last]
    limit = POST_CHARS if single else DIGEST_CHARS
    message = message_of(alerts[0], [line for line in (*lines, *text) if line], True, limit)
    return message if single else replace(message, asset="", at=latest.alert.at)


def _coin_over(delivery: Delivery, voice: Voice) -> Html:
    alerts, words = delivery.alerts, voice.words
    composite = _composite(alerts)
    event = say(words, "thread.all")
    if composite is not None:
        event = event_in_words(words, composite.cause)
    return say(
        words,
        "thread.coin_over",
        asset=alerts[0].asset,
        event=event,
        lasted=_lasted(delivery, voice),
        values=Html(words.comma.join(_worst_values(alerts, words))),
    )


def _worst_of_each_rule(alerts: Iterable[Alert]) -> list[Alert]:
    """Of each rule the worst window, in the order in which they are read."""
    chosen: dict[str, Alert] = {}
    for alert in sorted(alerts, key=_by_extreme):
        if not isinstance(alert.facts, CascadeFacts):
            chosen.setdefault(alert.family or alert.rule, alert)
    return sorted(chosen.values(), key=_reading_order)


def _worst_values(alerts: Sequence[Alert], words: Words) -> list[Html]:
    texts = [_value(alert, words, at_worst=True) for alert in _worst_of_each_rule(alerts)]
    composite = _composite(alerts)
    if not texts and composite is not None and isinstance(composite.facts, CascadeFacts):
        return [parts(words, composite.facts)]
    return texts


def _by_extreme(alert: Alert) -> tuple[int, float]:
    return -alert.level, (1 if alert.fires == "below" else -1) * alert.extreme


def _lasted(delivery: Delivery, voice: Voice) -> Html:
    """`` after 1 h 12 min``; nothing if that is unknown."""
    length = -1 if delivery.began is None else voice.alert.seen - delivery.began
    if length < 0:
        return Html()
    return voice.say("thread.lasted", length=voice.words.length(length))


# Looking back.


def _recap(delivery: Delivery, words: Words) -> Message:
    """An event that is over, whole: how long it took, how far each thing went and when, what was
    liquidated, what the price did. What is unknown is left out."""
    alerts = delivery.alerts
    latest = Voice(max(alerts, key=lambda alert: alert.seen), words)
    coins = [asset for asset in assets_of(alerts) if asset != ALL]
    single = len(coins) == 1 and len(assets_of(alerts)) == 1
    whole = alerts if single else [alert for alert in alerts if alert.asset == ALL]
    lines = [Html(f"{OVER} {_recap_head(delivery, latest, coins)}")]
    if values := _worst_with_times(whole, words):
        lines.append(latest.say("recap.worst", list=Html(words.comma.join(values))))
    if single:
        lines += [_price_over(delivery, coins[0], latest)]
    lines.append(_liquidated_line(alerts, coins, words))
    if not single:
        lines += _folded([_recap_coin(delivery, asset, words) for asset in coins], words)
    last = _footer(alerts, latest, 0) if single else _market_footer(latest, 0)
    message = message_of(alerts[0], [line for line in (*lines, last) if line], True, DIGEST_CHARS)
    return replace(
        message,
        alert_id=f"recap {delivery.thread}",
        asset=message.asset if single else "",
        turn=Turn.CLOSE,
        level=Level.WATCH,  # however far it went, nothing of it is urgent any more
        at=latest.alert.at,
    )


def _recap_head(delivery: Delivery, voice: Voice, coins: Sequence[str]) -> Html:
    words, alerts = voice.words, delivery.alerts
    subject: str = say(words, "thread.market")
    if coins:
        subject = say(words, "digest.count", count=str(len(coins)))
    if len(coins) == 1:
        subject = coins[0]
    composites = [alert for alert in alerts if isinstance(alert.facts, CascadeFacts)]
    event = Html()
    if composites:
        event = say(words, "cause", cause=event_in_words(words, _same_cause(composites)))
    began, ended = delivery.began, delivery.ended
    if began is None or ended is None or began > ended:
        return say(words, "recap.head", subject=subject, event=event, span=Html())
    span = say(
        words, "recap.span",
        first=voice.our_time(began), last=voice.our_time(ended), length=words.length(ended - began),
    )  # fmt: skip
    return say(words, "recap.head", subject=subject, event=event, span=span)


def _worst_with_times(alerts: Sequence[Alert], words: Words) -> list[Html]:
    """How far each rule went, by its worst window, and when."""
    texts: list[Html] = []
    for alert in _worst_of_each_rule(alerts):
        value = _value(alert, words, at_worst=True)
        time = Voice(alert, words).bare_time(alert.extreme_at)
        texts.append(say(words, "recap.value", value=value, time=time))
    return texts


def _price_over(delivery: Delivery, asset: str, voice: Voice) -> Html:
    """From before the event to its end."""
    change, words = _price_change(delivery, asset), voice.words
    if change is None:
        return Html()
    before, after = words.price(delivery.before[asset]), words.price(delivery.after[asset])
    return voice.say("price.moved", before=before, price=after, pct=numbers.change(change))


def _price_change(delivery: Delivery, asset: str) -> float | None:
    """From before the event to its end, %; None: one of the two is unknown."""
    before, after = delivery.before.get(asset), delivery.after.get(asset)
    return 100 * (after / before - 1) if before and after else None


def _liquidated(alerts: Iterable[Alert], asset: str) -> Liquidated | None:
    """What was liquidated of a coin in the event: the most that one of its episodes has seen, since
    they overlap. None: unknown, or nothing."""
    sums = [a.liquidated for a in alerts if a.asset == asset and a.liquidated is not None]
    most = max(sums, key=lambda of_episode: of_episode.usd, default=None)
    return most if most is not None and most.usd > 0 else None


def _liquidated_line(alerts: Sequence[Alert], coins: Sequence[str], words: Words) -> Html:
    """All coins together: a lower bound, as each is."""
    sums = [known for asset in coins if (known := _liquidated(alerts, asset)) is not None]
    if not sums:
        return Html()
    usd = sum(of_coin.usd for of_coin in sums)
    longs = 100 * sum(of_coin.long_usd for of_coin in sums) / usd
    return say(
        words, "recap.liquidated", amount=at_least(words, usd), pct=numbers.share(longs)
    )  # fmt: skip


def _recap_coin(delivery: Delivery, asset: str, words: Words) -> Html:
    alerts = [alert for alert in delivery.alerts if alert.asset == asset]
    values = _worst_with_times(alerts, words)[:PARTS]
    change = _price_change(delivery, asset)
    if change is not None:
        values.append(say(words, "recap.price", change=f"{numbers.change(change)}%"))
    if (known := _liquidated(alerts, asset)) is not None:
        values.append(say(words, "recap.liquidated_coin", amount=at_least(words, known.usd)))
    if not values:
        return Html()
    return say(words, "digest.cascade_item", asset=asset, value=Html(words.comma.join(values)))


def _folded(lines: Sequence[Html], words: Words) -> list[Html]:
    """The first ones, and a quote that unfolds to the rest."""
    known = [line for line in lines if line]
    if rest := known[COINS:]:
        text = say(words, "digest.rest", count=str(len(rest)), list=Html("\n".join(rest)))
        return [*known[:COINS], Html(f"<blockquote expandable>{text}</blockquote>")]
    return known


def _since(delivery: Delivery, words: Words, coins: Sequence[str]) -> Html:
    """``Since then −2.1% in 1h, +3.0% in 24h.``; what is unknown is left out."""
    known = [
        say(words, "thread.change", change=Html(text), window=words.window(wait))
        for wait, changes in sorted(delivery.since.items())
        if (text := _changes(changes, coins, words))
    ]
    return say(words, "thread.since", list=Html(words.comma.join(known))) if known else Html()


def _changes(changes: Mapping[str, float], coins: Sequence[str], words: Words) -> str:
    known = [(asset, numbers.change(changes[asset])) for asset in coins if asset in changes]
    if len(coins) == 1:
        return f"{known[0][1]}%" if known else ""
    return words.dot.join(f"{asset} {change}%" for asset, change in known[:COINS])


# One rule on many coins.


def _digest(delivery: Delivery, words: Words, held: int) -> Message:
    alerts = list(delivery.alerts)
    worst, latest = Voice(alerts[0], words), max(alerts, key=lambda a: a.at)
    lines = [*_digest_lines(delivery, words), *_release(alerts, words)]
    lines.append(footer(Voice(latest, words), held, single=False))
    message = message_of(worst.alert, lines, delivery.silent, DIGEST_CHARS)
    return replace(message, at=latest.at)


def _digest_lines(delivery: Delivery, words: Words) -> list[Html]:
    """All lines but the last."""
    alerts = _each_coin(delivery.alerts)
    going_on = [alert for alert in alerts if alert.turn is not Turn.CLOSE]
    worst = Voice(alerts[0], words)
    mark = MARKS[max(alert.level for alert in going_on)]
    marked = len({_mark(alert) for alert in alerts}) > 1
    items = [_item(Voice(alert, words), marked) for alert in alerts]
    coins = say(words, "digest.count", count=str(len(alerts)))
    coins = Html(f"{coins}{_turn(delivery, words)}")
    return [Html(f"{mark} {_head(worst, going_on, coins)}"), *_list(worst, items)]


def _each_coin(alerts: Iterable[Alert]) -> list[Alert]:
    """The worst alert of each coin or contract, the worst coin first."""
    chosen: dict[str, Alert] = {}
    for alert in sorted(alerts, key=severity):
        chosen.setdefault(alert.instrument or alert.asset, alert)
    return list(chosen.values())


def _list(voice: Voice, items: list[Html]) -> list[Html]:
    """The worst ones, and a quote that unfolds to the rest."""
    between = "\n" if voice.topic == "cascade" else voice.words.dot
    lines = [voice.say(_list_key(voice), list=Html(between.join(items[:SHOWN])))]
    if rest := items[SHOWN:]:
        listed = Html(between.join(rest))
        text = voice.say("digest.rest", count=str(len(rest)), list=listed)
        lines.append(Html(f"<blockquote expandable>{text}</blockquote>"))
    return lines


def _head(voice: Voice, alerts: Sequence[Alert], coins: Html) -> Html:
    alert, topic = voice.alert, _known(voice)
    rule = alert.family or alert.rule
    negative = all(a.value < 0 for a in alerts)
    state = "high" if voice.above else "negative" if negative else "low"
    cause = cause_in_words(voice.words, _same_cause(alerts))
    ways = ("digest.rises", "digest.falls")
    if topic == "depth":
        ways = ("digest.thick", "digest.thin")
    elif topic == "price":
        ways = ("digest.price_rises", "digest.price_falls")
    return voice.say(
        f"digest.{topic}",
        coins=coins,
        rule=rule,
        state=voice.say(f"funding.{state}"),
        moves=voice.say(ways[0] if voice.above else ways[1]),
        window=_window(voice, alerts),
        total=_total(voice, alerts),
        event=event_in_words(voice.words, _same_cause(alerts)),
        cause=voice.say("cause", cause=cause) if cause else cause,
    )


def _same_cause(alerts: Iterable[Alert]) -> Cause | None:
    """What is happening, if it is the same everywhere."""
    causes = {a.cause for a in alerts}
    return causes.pop() if len(causes) == 1 else None


def _known(voice: Voice) -> str:
    """The topic; market-wide ones never come in numbers, but they have a name to be told by."""
    whole = ("total", "breadth", "falls", "structure", "regime")
    return "other" if voice.topic in whole else voice.topic


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
    elif voice.topic == "regime":
        text, key = regime_in_words(voice.words, regime_of(alert.metric)), "digest.item"
    else:
        now, worst = (
            amount(voice.words, voice.topic, value, alert.unit)
            for value in (alert.value, alert.extreme)
        )
        text = now
        if was_worse(alert, voice.words):
            text = voice.say("thread.worst", now=now, worst=worst)
        key = "digest.item"
    item = voice.say(key, asset=alert.asset, value=text)
    return Html(f"{_mark(alert)} {item}") if marked else item


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
    if not round(total):  # as of liquidations once their window is empty
        return Html()
    match voice.topic:
        case "oi":
            key = "digest.oi_closed" if total < 0 else "digest.oi_opened"
        case "depth":
            key = "digest.depth_lost"
        case _:
            return voice.say("digest.liq_sum", usd=voice.words.usd_at_least(total))
    facts = [a.facts for a in alerts if isinstance(a.facts, OpenInterestFacts)]
    left_out = without(voice, dict.fromkeys(venue for of in facts for venue in of.not_added))
    return voice.say(key, usd=voice.words.usd(total), without=left_out)


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
