"""What the market's structure costs of the engine's time: the shipped rules with and without it.

Both engines take the same events in turn, batch by batch, so that what else the machine does slows
both alike. Two minutes are played: one in which nothing is due, and one in which the returns of ten
minutes are, and the correlations of an hour. Of an hour six are counted like the second one, though
correlations are due in one of them.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from bot.config import Settings, load
from bot.config.source import SHIPPED
from bot.messages.voice import topic
from rules.engine import Engine
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import (
    AnyEvent,
    Band,
    ContextFacts,
    Depth,
    Event,
    Ms,
    Price,
    PriceHistory,
    Supply,
    Tick,
    Volume,
)
from tests.rules import mix

INSTRUMENTS = 1_000
TOPICS = ("structure", "regime")
"""What posts and answers call the market's structure, by the metrics of rules."""

SPOT = {
    "binance-spot": "USDT", "bybit-spot": "USDT", "okx-spot": "USDT", "coinbase": "USD",
    "kraken-spot": "USD",
}  # fmt: skip
"""Spot venue → what its pairs are in."""

LISTED = 250
"""So many coins the list has by which all are counted together."""

_START: Ms = mix.START // HOUR * HOUR + 2 * HOUR + 9 * MINUTE
"""Returns and correlations are due 40 s after the ten minutes that begin the next minute."""

_WARM_MINUTES = 66
_MINUTES_OF_HOUR = (54, 6)
"""So many are like the first one that is played, and like the second."""

_ROUNDS = 3
_EVERY: Ms = 10 * MINUTE
_DAYS = 30


def structure() -> dict[str, object]:
    """The share of the engine's time, and the longest Tick with and without it."""
    settings = load(SHIPPED, {})
    names = _named(settings)
    dumped = _warmed(settings, names, _START)
    rounds: list[list[_Batch]] = []
    for _ in range(_ROUNDS):
        engines = [_engine(settings, is_whole) for is_whole in (False, True)]
        for judge in engines:
            judge.load(dumped)
        minutes = (
            (times, _story(names, _START + minute * MINUTE + SECOND))
            for minute, times in enumerate(_MINUTES_OF_HOUR)
        )
        rounds.append([b for times, story in minutes for b in _in_turn(engines, story, times)])
    best = [_best(batches) for batches in zip(*rounds, strict=True)]
    plain, whole = (sum(batch.times * batch.spent[place] for batch in best) for place in (0, 1))
    longest = [max(batch.tick[place] for batch in best) for place in (0, 1)]
    count = sum(batch.events for batch in best)
    known = {
        value.metric: value.value is not None
        for value in sorted(engines[1].standing(False).values, key=lambda v: v.value is not None)
        if topic(value.metric) in TOPICS
    }
    unknown = sorted(name for name, is_known in known.items() if not is_known)
    return {
        "structure_share_pct": round(100 * (1 - plain / whole), 1),
        "structure_longest_tick_ms": round(1000 * longest[1], 1),
        "structure_longest_tick_without_ms": round(1000 * longest[0], 1),
        "structure_known": f"{len(known) - len(unknown)} of {len(known)} metrics",
        "structure_how": (
            f"of the CPU time in which the rules of config.toml take {count} events of"
            f" {INSTRUMENTS} instruments, the part that goes to what watches"
            f" {' and '.join(TOPICS)}: the same events through an engine without those rules, in"
            f" turn, a batch of {mix.BATCH} each, the best of {_ROUNDS} rounds;"
            f" {_MINUTES_OF_HOUR[0]} times a minute in which nothing is due and"
            f" {_MINUTES_OF_HOUR[1]} times one in which returns and correlations are, {_DAYS} days"
            f" of returns known; not known: {', '.join(unknown) or 'nothing'}"
        ),
    }


def _engine(settings: Settings, is_whole: bool) -> Engine:
    rules = [rule for rule in settings.rules if is_whole or topic(rule.metric) not in TOPICS]
    return Engine(rules, (*mix.VENUES, *SPOT), settings.composites)


def _named(settings: Settings) -> Mapping[str, str]:
    """Asset of the mix → the coin that it stands for, of those that rules and baskets name."""
    in_baskets = (
        coin for rule in settings.rules for basket in rule.baskets.values() for coin in basket.coins
    )
    coins = dict.fromkeys([*settings.tiers.listed, *in_baskets])
    return {f"A{place:03d}": coin for place, coin in enumerate(coins)}


def _as_coin(event: AnyEvent, names: Mapping[str, str]) -> AnyEvent:
    coin = names.get(event.asset) if isinstance(event, Event) else None
    if coin is None:
        return event
    quoted = {"quote": "USDT"} if isinstance(event, Price) else {}
    return msgspec.structs.replace(event, asset=coin, symbol=f"{coin}USDT", **quoted)


def _warmed(settings: Settings, names: Mapping[str, str], end: Ms) -> bytes:
    """The state of an engine that has known all of it for some time, and returns for a month."""
    judge, dice = _engine(settings, is_whole=True), random.Random(5)
    begin = end - _WARM_MINUTES * MINUTE
    judge.feed(_list_of(names, begin))
    for event in mix.warming(INSTRUMENTS, _WARM_MINUTES, begin, 20 * SECOND):
        if isinstance(event, Tick):
            for of_spot in _of_spot(dice, names, event.seen):
                judge.feed(of_spot)
        judge.feed(_as_coin(event, names))
    for place in range(0, INSTRUMENTS, len(mix.VENUES)):
        judge.feed(_past(dice, names, place, end))
    judge.feed(_list_of(names, end))
    judge.feed(Tick(seen=end))
    return mix.with_hours(judge.dump(), end)


def _story(names: Mapping[str, str], start: Ms) -> Iterator[AnyEvent]:
    dice = random.Random(3)
    for event in mix.events(INSTRUMENTS, MINUTE // SECOND, start):
        if isinstance(event, Tick):
            yield from _of_spot(dice, names, event.seen)
        yield _as_coin(event, names)


def _of_spot(dice: random.Random, names: Mapping[str, str], now: Ms) -> Iterator[AnyEvent]:
    """A second of the pairs of the two largest coins, which is what is watched of spot markets."""
    for place, coin in enumerate(list(names.values())[:2]):
        price = 100.0 + 3 * place
        for venue, quote in SPOT.items():
            where = {
                "venue": venue, "symbol": f"{coin}-{quote}", "asset": coin, "at": now - 50,
                "seen": now, "spot": True,
            }  # fmt: skip
            last = price * dice.uniform(0.9999, 1.0001)
            bands = tuple(Band(bp, bp * 9e3, bp * dice.uniform(8e3, 1e4), True) for bp in (10, 25))
            yield Price(**where, last=last, quote=quote)
            yield Depth(**where, mid=price, spread_bp=0.1, bands=bands)
            yield Volume(**where, usd_24h=1e9 * dice.uniform(0.99, 1.01))
        for venue in mix.VENUES:
            yield Volume(
                venue=venue, symbol=f"{coin}USDT", asset=coin, at=now - 50, seen=now,
                usd_24h=3e9 * dice.uniform(0.99, 1.01),
            )  # fmt: skip


def _past(dice: random.Random, names: Mapping[str, str], place: int, now: Ms) -> PriceHistory:
    """What a venue tells of a month, which goes on in the price now."""
    name = f"A{place // len(mix.VENUES):03d}"
    coin, prices = names.get(name, name), [100.0 + place]
    for _ in range(_DAYS * DAY // _EVERY):
        prices.append(prices[-1] * (1 + dice.gauss(0, 0.002)))
    at = now // _EVERY * _EVERY
    return PriceHistory(
        venue=mix.VENUES[0], symbol=f"{coin}USDT", asset=coin, at=at, seen=now, every=_EVERY,
        prices=tuple(reversed(prices)),
    )  # fmt: skip


def _list_of(names: Mapping[str, str], now: Ms) -> ContextFacts:
    """What a source lists: the coins of the mix, at about their prices."""
    assets = (f"A{place:03d}" for place in range(LISTED))
    facts = tuple(
        Supply(
            asset=names.get(asset, asset), rank=rank, circulating=1e9 / rank, price=99.0 + 3 * rank
        )
        for rank, asset in enumerate(assets, 1)
    )
    return ContextFacts(source="coingecko", seen=now, good_for=4 * HOUR, facts=facts)


class _Batch(NamedTuple):
    """What some events took of each engine, in seconds."""

    times: int
    """In an hour."""
    events: int
    spent: tuple[float, ...]
    tick: tuple[float, ...]
    """The longest Tick."""


def _best(batches: Sequence[_Batch]) -> _Batch:
    """Of the same events, several times: each engine where it was disturbed least."""
    spent, tick = (zip(*part, strict=True) for part in zip(*(b[2:] for b in batches), strict=True))
    return batches[0]._replace(spent=tuple(map(min, spent)), tick=tuple(map(min, tick)))


def _in_turn(engines: Sequence[Engine], story: Iterator[AnyEvent], times: int) -> Iterator[_Batch]:
    order = list(range(len(engines)))
    while batch := list(islice(story, mix.BATCH)):
        spent, longest = [0.0] * len(engines), [0.0] * len(engines)
        for place in order:
            judge, began = engines[place], time.process_time()
            for event in batch:
                if type(event) is Tick:
                    ticked = time.process_time()
                    judge.feed(event)
                    longest[place] = max(longest[place], time.process_time() - ticked)
                else:
                    judge.feed(event)
            spent[place] = time.process_time() - began
        yield _Batch(times, len(batch), tuple(spent), tuple(longest))
        order.reverse()
