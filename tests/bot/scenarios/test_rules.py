"""A scenario for every shipped rule: events in, and the complete list of messages as golden text.

Each is played to its own rule alone, with the numbers of the shipped config.toml. After a change of
rules or words, run it with LOWTIDE_GOLDEN=write and read the diff.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from random import Random

import msgspec
import pytest

from bot.config import Settings, load
from bot.config.recipients import chats
from bot.destination import TelegramChat
from bot.lang import ENGLISH
from bot.lang.words import Words
from bot.messages.notices import notice_message
from bot.messages.thread import delivery_message
from bot.plan.planner import Chat, Delivery
from bot.replay import judged, messages
from rules.alerts import Notice
from streams.events import AnyEvent, ContextFacts, Price, PriceHistory, Supply, Tick
from tests.bot.scenarios.market import MINUTE, SECOND, Coin, Market
from tests.golden import check_text

FOLDER = Path(__file__).parent
CONFIG = FOLDER.parents[2] / "config.toml"
SLOW = 8 * MINUTE
DAY_MIN = 24 * 60
Events = Iterator[AnyEvent]


def btc(**values: float) -> Market:
    return Market({"BTC": Coin(**values)})


def tail(count: int, **values: float) -> Market:
    names = ("WLFI", "ENA", "TIA", "APT", "SEI", "SUI", "ARB", "OP", "INJ", "JUP")
    return Market({name: Coin(**values) for name in names[:count]})


def funding_negative() -> Events:
    """Negative for one settlement, positive for nine days, negative and more so, and back."""
    market = btc()
    return chain(
        market.play(3 * DAY_MIN - 60, step=SLOW),
        market.play(60, BTC={"rate": -0.00002}),
        market.play(60, BTC={"rate": 0.0001}),
        market.play(9 * DAY_MIN, step=SLOW),
        market.play(7 * 60 - 10, step=MINUTE, BTC={"rate": -0.000031}),
        market.play(8 * 60, step=MINUTE, BTC={"rate": -0.0004}),
        market.play(8 * 60, step=MINUTE, BTC={"rate": 0.00005}),
        market.play(40),
    )


def funding_predicted() -> Events:
    market = btc()
    return chain(
        market.play(30),
        market.play(40, BTC={"rate": -0.00005}),
        market.play(30),
        market.play(20, BTC={"rate": 0.0001}),
        market.play(20),
    )


def funding_breadth() -> Events:
    market = tail(10)
    eight = {name: {"rate": -0.0002 - 0.0001 * n} for n, name in enumerate([*market.coins][:8])}
    back = {name: {"rate": 0.0001} for name in eight}
    return chain(
        market.play(10 * 60, step=2 * MINUTE),
        market.play(1, **eight),
        market.play(8 * 60, step=MINUTE),
        market.play(1, **back),
        market.play(7 * 60, step=MINUTE),
    )


def oi_drop() -> Events:
    """A fast fall: both windows see it, one of them tells it."""
    market = btc(oi=3_000)
    return chain(
        market.play(80),
        market.play(30, BTC={"oi": 2_820, "price": 97.5}),
        market.play(20, BTC={"oi": 2_640, "price": 95.0}),
        market.play(90),
    )


def oi_drop_24h() -> Events:
    """A slow grind that no short window sees."""
    market = btc(oi=3_000)
    return chain(
        market.play(24 * 60, step=MINUTE), market.play(23 * 60, step=MINUTE, BTC={"oi": 2_700})
    )


def oi_drop_tail() -> Events:
    """Six coins at once are one digest, and those that follow another one."""
    market = tail(8, oi=60)
    fall = {name: {"oi": 51.0 - n} for n, name in enumerate([*market.coins][:6])}
    late = {name: {"oi": 50.0} for name in [*market.coins][6:]}
    return chain(
        market.play(70), market.play(10, **fall), market.play(2), market.play(8, **late),
        market.play(90),
    )  # fmt: skip


def oi_total_drop() -> Events:
    market = Market({name: Coin(oi=2_000) for name in ("BTC", "ETH", "SOL")})
    fall = {"BTC": {"oi": 1_900.0}, "ETH": {"oi": 1_850.0}, "SOL": {"oi": 1_960.0}}
    return chain(market.play(70), market.play(40, **fall), market.play(90))


def depth_thin() -> Events:
    market = btc(depth=30)
    return chain(
        market.play(45), market.play(2, BTC={"depth": 14.0}), market.play(10),
        market.play(2, BTC={"depth": 9.0}), market.play(10),
        market.play(2, BTC={"depth": 29.0}), market.play(15),
    )  # fmt: skip


def depth_low() -> Events:
    """After six days the hours of a day are known."""
    market = btc(depth=30)
    return chain(
        market.play(6 * 24 * 60 + 9 * 60, step=20 * SECOND),
        market.play(2, BTC={"depth": 12.0}),
        market.play(60),
        market.play(2, BTC={"depth": 29.0}),
        market.play(15),
    )


def liq_burst() -> Events:
    market = btc(oi=3_000)
    return chain(
        market.play(5),
        market.play(2, BTC={"burst": 9.0, "price": 98.0}),
        market.play(12),
        market.play(5, BTC={"burst": 20.0, "price": 95.0}),
        market.play(6),
        market.play(1, BTC={"burst": 0.0}),
        market.play(30),
    )


def price_drop() -> Events:
    market = btc(price=112_400.0)
    return chain(
        market.play(65),
        market.play(40, BTC={"price": 105_600.0}),
        market.play(5, BTC={"price": 102_900.0}),
        market.play(100),
    )


def market_fall() -> Events:
    """Seven coins fall together, one venue falls silent, and they stay where they are."""
    names = ("BTC", "ETH", "SOL", "XRP", "BNB", "DOGE", "HYPE")
    market = Market({name: Coin() for name in names})
    fall = {name: {"price": 97.0 - 0.4 * n} for n, name in enumerate(names)}
    return chain(market.play(65), market.play(20, **fall), market.play(90))


def price_rise() -> Events:
    market = btc(price=100_000.0, oi=3_000)
    return chain(
        market.play(65), market.play(20, BTC={"price": 107_000.0, "oi": 2_900}), market.play(90)
    )


def oi_surge() -> Events:
    market = btc(price=100_000.0, oi=3_000)
    return chain(
        market.play(65), market.play(20, BTC={"price": 102_000.0, "oi": 3_270}), market.play(90)
    )


def squeeze() -> Events:
    """Open interest falls twice: while the price rises, and, later, while it falls."""
    market = btc(price=100_000.0, oi=3_000)
    return chain(
        market.play(65), market.play(20, BTC={"price": 103_000.0, "oi": 2_820}), market.play(90),
        market.play(20, BTC={"price": 99_000.0, "oi": 2_600}), market.play(90),
    )  # fmt: skip


def funding_high() -> Events:
    market = btc()
    return chain(
        market.play(2 * DAY_MIN - 60, step=SLOW),
        market.play(8 * 60, step=MINUTE, BTC={"rate": 0.0007}),
        market.play(8 * 60, step=MINUTE, BTC={"rate": 0.0001}),
        market.play(60, step=MINUTE),
    )


def volatility() -> Events:
    """A week in which nothing happens, then a fall within minutes, and another one."""
    market = btc(price=100_000.0)
    return chain(
        market.play(7 * DAY_MIN, step=MINUTE),
        market.play(8, BTC={"price": 88_000.0}),
        market.play(3 * 60, step=MINUTE),
        market.play(8, BTC={"price": 76_000.0}),
        market.play(60, step=MINUTE),
    )


def correlation() -> Events:
    """Five coins go their own ways for a week, and together for days."""
    dice, names = Random(4), ("WLFI", "ENA", "TIA", "APT", "SEI")
    market = Market({name: Coin() for name in names}, ("binance",))
    return chain.from_iterable(
        market.play(60, step=MINUTE, **{
            name: {"price": coin.price * (1 + 0.01 * (all_of_them if hour > 170 else own))}
            for name, coin in market.coins.items()
            for own in [dice.gauss(0, 1)]
        })
        for hour in range(270)
        for all_of_them in [dice.gauss(0, 4)]
    )  # fmt: skip


def spot_share() -> Events:
    """Spot takes over from perpetuals, and gives it back; an exchange in the dark changes nothing
    for as long as the others have most of the volume."""
    market = btc(spot=2.5)
    return chain(
        market.play(10),
        market.play(10, BTC={"spot": 7.5}),
        market.turn("bybit-spot", up=False),
        market.play(10),
        market.turn("bybit-spot", up=True),
        market.play(10, BTC={"spot": 3.5}),
        market.play(20),
    )


def spot_depth() -> Events:
    """Perpetuals thin first, then spot."""
    market = btc(depth=60, spot=2.5, spot_depth=20)
    return chain(
        market.play(45), market.play(5, BTC={"depth": 35.0}), market.play(5),
        market.play(2, BTC={"spot_depth": 9.0}), market.play(10),
        market.play(2, BTC={"spot_depth": 19.0}), market.play(15),
    )  # fmt: skip


def drawdown() -> Events:
    """A day at one price, a slow rise, and a fall from there."""
    market = btc(price=100_000.0, oi=3_000)
    return chain(
        market.play(DAY_MIN, step=MINUTE),
        market.play(12 * 60, step=MINUTE, BTC={"price": 126_000.0}),
        market.play(DAY_MIN, step=MINUTE, BTC={"price": 98_000.0}),
        market.play(60, step=MINUTE),
    )


def oi_drawdown() -> Events:
    market = tail(6, oi=500)
    closed = {name: {"oi": 350.0, "price": 60.0} for name in market.coins}
    return chain(
        market.play(DAY_MIN + 10, step=MINUTE),
        market.play(6 * 60, step=MINUTE, **closed),
        market.play(60, step=MINUTE),
    )


def support_lost() -> Events:
    """To 80,000 and up again three times, less each time, through it, and a day later."""
    market = btc(price=92_000.0, oi=3_000)
    turns = (90_000, 92_000, 90_000, 91_500, 80_100, 87_000, 80_080, 84_000, 80_090, 82_500, 79_000)
    return chain(
        *(market.play(6 * 60, step=MINUTE, BTC={"price": float(price)}) for price in turns),
        market.play(25 * 60, step=MINUTE, BTC={"price": 78_900.0}),
    )


def market_cap() -> Events:
    """A day at one price, a fall by a ninth in half an hour, and half of it back. A source lists
    the coins each hour, with one that nobody watches."""
    market = tail(2, price=100.0)
    fall, back = ({name: {"price": price} for name in market.coins} for price in (88.0, 97.0))
    events = chain(
        market.play(DAY_MIN + 60, step=MINUTE),
        market.play(30, step=MINUTE, **fall),
        market.play(60, step=MINUTE),
        market.play(30, step=MINUTE, **back),
        market.play(60, step=MINUTE),
    )
    return listed(market, events, 3e11)


def market_cap_round() -> Events:
    """From 3.2 trillion below three, near it for hours, and back above it the day after."""
    market = tail(2, price=100.0)
    low, near, back = (
        {name: {"price": price} for name in market.coins} for price in (89.0, 94.5, 99.0)
    )
    events = chain(
        market.play(60, step=MINUTE),
        market.play(60, step=MINUTE, **low),
        market.play(60, step=MINUTE, **near),
        market.play(60, step=MINUTE, **low),
        market.play(25 * 60, step=MINUTE),
        market.play(60, step=MINUTE, **back),
        market.play(60, step=MINUTE),
    )
    return listed(market, events, 1.745e12)


def listed(market: Market, events: Events, worth: float) -> Events:
    """Events, with a list of the coins each hour, of which the first is ``worth`` so many USD at
    its price of now, and one that nobody watches."""
    first = {name: coin.price for name, coin in market.coins.items()} | {"USDT": 1.0}
    asked_at = 0
    for event in events:
        yield event
        if event.seen - asked_at >= 60 * MINUTE:
            asked_at = event.seen
            prices = {name: coin.price for name, coin in market.coins.items()} | {"USDT": 1.0}
            yield ContextFacts(
                source="coingecko", seen=event.seen, good_for=4 * 60 * MINUTE,
                facts=tuple(
                    Supply(
                        asset=name, rank=n, circulating=worth / n / first[name], price=prices[name]
                    )
                    for n, name in enumerate(prices, 1)
                ),
            )  # fmt: skip


def depeg(worth: float = 0.985) -> Events:
    """Two coins at four exchanges, two in dollars and two in USDT, told each
    five seconds. Everything falls by a tenth in ten of them; in it USDT loses 1.5 %, and has its
    dollar back half an hour later."""
    now, random = 1_790_985_600_000, Random(4)
    prices = {"BTC": 100_000.0, "ETH": 4_000.0}
    falls, fall = range(300, 310), 0.9**0.5
    for second in range(0, 80 * 60, 5):
        now += 5 * SECOND
        usdt = worth if 305 <= second < 2_100 else 1.0
        for venue in ("kraken", "deribit", "binance", "okx"):
            late = venue in ("kraken", "okx") and second in falls  # by one price
            for asset, price in prices.items():
                quoted = price * (1 if late or second not in falls else fall)
                quoted *= 1 + random.uniform(-1e-5, 1e-5)
                in_dollars = venue in ("kraken", "deribit")
                yield Price(
                    venue=venue, symbol=f"{asset}X", asset=asset, at=now, seen=now,
                    index=quoted / (1.0 if in_dollars else usdt),
                    quote="USD" if in_dollars else "USDT",
                )  # fmt: skip
        if second in falls:
            prices = {asset: price * fall for asset, price in prices.items()}
        yield Tick(seen=now)


def depeg_above() -> Events:
    """… or is worth a hundredth more."""
    return depeg(1.01)


def sectors() -> Events:
    """Coins whose past two exchanges tell; then those of one sector fall alone, and come back."""
    layer2 = ("ARB", "OP", "POL", "STRK", "ZK")
    others = ("BTC", "ETH", "XRP", "BNB", "SOL", "DOGE", "ADA", "TRX", "HYPE", "LINK", "BCH",
              "SUI", "AVAX", "LTC", "HBAR", "TON", "DOT", "UNI")  # fmt: skip
    market = Market({name: Coin() for name in (*layer2, *others)}, ("binance", "bybit"))
    fall, back = ({name: {"price": to + n} for n, name in enumerate(layer2)} for to in (82.0, 95.0))
    events = chain(
        market.play(10, step=30 * SECOND),
        market.play(10, step=30 * SECOND, **fall),
        market.play(40, step=30 * SECOND),
        market.play(10, step=30 * SECOND, **back),
        market.play(30, step=30 * SECOND),
    )
    began = market.now
    for event in events:
        yield event
        minute = (event.seen - began) // MINUTE
        if minute == 3 and isinstance(event, Price):
            yield from _past(event, MINUTE, DAY_MIN + 30)
            yield from _past(event, 60 * MINUTE, 8 * 24)


def _past(price: Price, every: int, count: int) -> Events:
    """That the price was always what it is."""
    yield PriceHistory(
        venue=price.venue, symbol=price.symbol, asset=price.asset,
        at=price.seen // every * every, seen=price.seen, every=every,
        prices=(price.index or price.mark,) * count,
    )  # fmt: skip


def funding_apart() -> Events:
    """Two markets of one coin, whose venues pay ever more differently, and alike again."""
    binance, bybit = (Market({"BTC": Coin(oi=3_000)}, (venue,)) for venue in ("binance", "bybit"))
    return (
        event
        for rate in (0.0001, 0.0004, 0.0001)
        for both in zip(
            binance.play(40, BTC={"rate": 0.0001}), bybit.play(40, BTC={"rate": rate}), strict=True
        )
        for event in both
    )


def liq_day() -> Events:
    """Half a day of liquidations, a quiet day, and the end of it."""
    market = btc(oi=3_000)
    return chain(
        market.turn("binance", up=True),
        market.play(10 * 60, step=MINUTE, BTC={"burst": 4.0}),
        market.play(10, step=MINUTE, BTC={"burst": 0.0}),
        market.play(26 * 60, step=MINUTE),
    )


def cascade() -> Events:
    """Liquidations, open interest, depth, in this order; then everything calms down."""
    market = btc(price=112_400.0, oi=3_000, depth=30)
    return chain(
        market.play(70),
        market.play(6, BTC={"burst": 8.0, "price": 110_900.0}),
        market.play(10, BTC={"burst": 9.0, "oi": 2_890.0, "price": 109_100.0}),
        market.play(4, BTC={"burst": 16.0, "depth": 9.0, "oi": 2_700.0, "price": 107_200.0}),
        market.play(8),
        market.play(2, BTC={"burst": 0.0}),
        market.play(5, BTC={"depth": 28.0}),
        market.play(180, step=20 * SECOND),
    )


def regime() -> Events:
    """A day of calm; positions are closed by force, and far fewer are left; then they are opened
    again."""
    market = btc(price=112_400.0, oi=3_000)
    return chain(
        market.turn("binance", up=True),
        market.play(DAY_MIN + 70, step=MINUTE),
        market.play(10, BTC={"burst": 8.0, "price": 104_000.0, "oi": 2_500.0}),
        market.play(5, BTC={"burst": 0.0}),
        market.play(4 * 60, step=20 * SECOND),
        market.play(60, step=20 * SECOND, BTC={"oi": 2_950.0}),
        market.play(3 * 60, step=20 * SECOND),
    )


def feeds() -> Events:
    """A venue is silent while open interest falls: both sides of the comparison leave it out."""
    coins = {"BTC": Coin(oi=3_000)}
    market = Market(coins, ("binance", "bybit", "hyperliquid"))
    return chain(
        market.play(75),
        market.turn("bybit", up=False, reason="silent for 10 s"),
        market.play(5),
        market.play(10, BTC={"oi": 2_830}),
        market.play(5),
        market.turn("bybit", up=True),
        market.play(70),
    )


SCENARIOS: dict[str, tuple[Callable[[], Events], tuple[str, ...]]] = {
    "funding_negative": (funding_negative, ()),
    "funding_predicted": (funding_predicted, ()),
    "funding_breadth": (funding_breadth, ()),
    "oi_drop": (oi_drop, ()),
    "oi_drop_24h": (oi_drop_24h, ("oi_drop",)),
    "oi_drop_tail": (oi_drop_tail, ("oi_drop",)),
    "oi_total_drop": (oi_total_drop, ()),
    "depth_thin": (depth_thin, ()),
    "depth_low": (depth_low, ()),
    "liq_burst": (liq_burst, ()),
    "price_drop": (price_drop, ()),
    "market_fall": (market_fall, ()),
    "price_rise": (price_rise, ()),
    "oi_surge": (oi_surge, ()),
    "squeeze": (squeeze, ()),
    "funding_high": (funding_high, ()),
    "volatility": (volatility, ()),
    "liq_day": (liq_day, ()),
    "funding_apart": (funding_apart, ()),
    "spot_share": (spot_share, ()),
    "spot_depth": (spot_depth, ()),
    "drawdown": (drawdown, ()),
    "oi_drawdown": (oi_drawdown, ()),
    "support_lost": (support_lost, ()),
    "market_cap": (market_cap, ()),
    "market_cap_round": (market_cap_round, ()),
    "depeg": (depeg, ()),
    "depeg_above": (depeg_above, ()),
    "correlation": (correlation, ()),
    "sector_rout": (sectors, ()),
    "sector_week": (sectors, ()),
    "cascade": (cascade, ("cascade", "oi_drop", "liq_burst", "depth_thin", "price_drop")),
    "regime": (regime, ()),
    "market_regime": (regime, ()),
    "feeds": (feeds, ("oi_drop",)),
}
"""Scenario → its events, and the rules that hear them (none named: the one of its name)."""


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(CONFIG, {})


def only(settings: Settings, families: Iterable[str]) -> Settings:
    """The settings with these rules alone, all of them posted."""
    return msgspec.structs.replace(
        settings,
        rules=tuple(
            msgspec.structs.replace(rule, post=True)
            for rule in settings.rules
            if rule.family in families
        ),
        composites=tuple(
            composite for composite in settings.composites if composite.name in families
        ),
    )


def text(posts_and_notices: Iterable[Delivery | Notice], words: Words = ENGLISH) -> str:
    """All messages, each after the time at which it is told; of the edits the last one of each
    post."""
    parts: list[str] = []
    for entry in _without_passing_edits(list(posts_and_notices)):
        at = entry.seen if isinstance(entry, Notice) else entry.at
        message = (
            notice_message(entry, words)
            if isinstance(entry, Notice)
            else delivery_message(entry, words)
        )
        sound = (
            "to operators" if isinstance(entry, Notice) else "silent" if entry.silent else "rings"
        )
        if isinstance(entry, Delivery) and entry.edit:
            sound = "goes on in the market's post" if entry.into else "edited"
        when = f"{datetime.fromtimestamp(at / 1000, UTC):%d %b %H:%M:%S}"
        parts.append(f"=== {when}, {sound}\n{message.plain}\n")
    return "\n".join(parts)


def _without_passing_edits(
    posts_and_notices: list[Delivery | Notice],
) -> Iterator[Delivery | Notice]:
    for n, entry in enumerate(posts_and_notices):
        later = (d for d in posts_and_notices[n + 1 :] if isinstance(d, Delivery))
        if isinstance(entry, Delivery) and entry.edit and not entry.into:
            following = next((d for d in later if d.thread == entry.thread), None)
            if following is not None and following.edit:
                continue
        yield entry


def channel(settings: Settings) -> Chat:
    """The first chat of ``settings``, as a channel, where posts are edited."""
    return msgspec.structs.replace(chats(settings)[0], destination=TelegramChat("@lowtide"))


def check_messages(name: str, actual: str) -> None:
    """AssertionError where ``actual`` is not the text of the golden of that name, to the letter."""
    assert actual.strip(), f"nothing was told in {name}"
    check_text(FOLDER / f"{name}.txt", actual)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, settings: Settings):
    events, families = SCENARIOS[name]
    mine = only(settings, families or (name,))
    check_messages(name, text(messages(judged(events(), mine), channel(mine))))


def test_every_shipped_rule_has_a_scenario(settings: Settings):
    shipped = {rule.family for rule in settings.rules} | {c.name for c in settings.composites}
    assert shipped <= SCENARIOS.keys()
