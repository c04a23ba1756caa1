"""CoinGecko: supplies, ranks and highs of the 250 largest coins, and what they are worth in total.

Its limit is shared by all who come from one address, so it is asked once an hour. Since February
2026 coins that stand for others (WETH, stETH) have no rank, so that they are not counted twice; a
coin without a rank is left out here too.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from streams.coins import present_name
from streams.events import ContextFact, MarketCap, Ms, Supply
from streams.source import SourceSpec
from streams.sources.wire import moment, quantity, read_json
from streams.text import is_name
from streams.venue import Malformed, Request

SPEC = SourceSpec(
    name="coingecko",
    title="CoinGecko",
    rest="https://api.coingecko.com",
    every_s=3600,
    good_for_s=4 * 3600,
    requests_per_second=0.2,
    lists_coins=True,
)

COINS = 250
"""So many the list has on its first page, the largest first."""

_OLD: Ms = round(SPEC.good_for_s * 1000)
"""What is older than an answer may become is not of now: a cache that stands still, or a coin of
which nobody tells a price any more."""

_Rank = Annotated[int, Meta(ge=1, le=100_000)]


class _Coin(msgspec.Struct):
    symbol: Annotated[str, Meta(min_length=1, max_length=30)]
    market_cap_rank: _Rank | None = None
    circulating_supply: float | None = None
    current_price: float | None = None
    ath: float | None = None
    ath_date: str | None = None
    id: str | None = None
    """Its own of the list; a ticker may be that of several coins."""
    last_updated: str | None = None


class _Totals(msgspec.Struct):
    total_market_cap: dict[str, float]
    updated_at: int | None = None
    """Seconds."""
    market_cap_change_percentage_24h_usd: float | None = None


class _Global(msgspec.Struct):
    data: _Totals


_list = msgspec.json.Decoder(list[_Coin])
_global = msgspec.json.Decoder(_Global)


def requests() -> list[Request]:
    """The list, and the total."""
    page = f"vs_currency=usd&order=market_cap_desc&per_page={COINS}&page=1"
    return [
        Request(path=f"/api/v3/coins/markets?{page}"),
        Request(path="/api/v3/global", needed=False),
    ]


def decode(bodies: Sequence[bytes], seen: Ms) -> list[ContextFact]:
    """A Supply for each coin, the largest first, and the MarketCap if it came."""
    coins = [coin for coin in read_json(_list, bodies[0]) if is_name(coin.symbol)]
    by_id = {(number if coin.id is None else coin.id): coin for number, coin in enumerate(coins)}
    now = [coin for coin in by_id.values() if not _of_before(moment(coin.last_updated), seen)]
    if coins and not now:
        raise Malformed("its list is of long ago")
    supplies = [supply for coin in now if (supply := _supply(coin)) is not None]
    if not supplies:
        raise Malformed("it lists no coin with a rank, a price and a supply")
    supplies.sort(key=lambda supply: supply.rank)
    return [*supplies, *(_total(bodies[1], seen) if bodies[1] else [])]


def _of_before(at: Ms | None, seen: Ms) -> bool:
    """Whether that is too long ago; not where no time is said."""
    return at is not None and at < seen - _OLD


def _supply(coin: _Coin) -> Supply | None:
    circulating, price = quantity(coin.circulating_supply), quantity(coin.current_price)
    if coin.market_cap_rank is None or circulating is None or price is None:
        return None
    high, high_at = quantity(coin.ath), moment(coin.ath_date)
    known = high is not None and high_at is not None
    return Supply(
        asset=present_name(coin.symbol.upper()),
        rank=coin.market_cap_rank,
        circulating=circulating,
        price=price,
        high=high if known else None,
        high_at=high_at if known else None,
    )


def _total(body: bytes, seen: Ms) -> list[MarketCap]:
    totals = read_json(_global, body).data
    usd = quantity(totals.total_market_cap.get("usd"))
    change = totals.market_cap_change_percentage_24h_usd
    if change is not None and not -100 < change < 1_000:
        change = None
    at = None if totals.updated_at is None else totals.updated_at * 1000
    if usd is None or _of_before(at, seen):
        return []
    return [MarketCap(usd=usd, change_24h_pct=change)]
