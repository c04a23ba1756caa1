"""DefiLlama: the prices and the supplies of stablecoins, the largest first."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from streams.events import ContextFact, Ms, Stablecoin
from streams.source import SourceSpec
from streams.sources.wire import quantity, read_json
from streams.text import is_name
from streams.venue import Malformed, Request

SPEC = SourceSpec(
    name="defillama",
    title="DefiLlama",
    rest="https://stablecoins.llama.fi",
    every_s=900,
    good_for_s=3600,
    requests_per_second=0.2,
)

KEPT = 10
"""So many of the largest: smaller ones move nothing."""

_PEG = "peggedUSD"


class _Coin(msgspec.Struct, rename="camel"):
    symbol: Annotated[str, Meta(min_length=1, max_length=30)]
    peg_type: str = ""
    price: float | str | None = None
    circulating: Mapping[str, float | None] = {}
    circulating_prev_day: Mapping[str, float | None] = {}
    circulating_prev_month: Mapping[str, float | None] = {}


class _Answer(msgspec.Struct, rename="camel"):
    pegged_assets: list[_Coin]


_decoder = msgspec.json.Decoder(_Answer)


def requests() -> list[Request]:
    """All stablecoins with their prices."""
    return [Request(path="/stablecoins?includePrices=true")]


def decode(bodies: Sequence[bytes], seen: Ms) -> list[ContextFact]:
    """The largest coins that are to be worth a dollar."""
    coins: list[Stablecoin] = []
    for row in read_json(_decoder, bodies[0]).pegged_assets:
        if not is_name(row.symbol):
            continue
        supply = quantity(row.circulating.get(_PEG))
        if row.peg_type == _PEG and supply is not None:
            coins.append(
                Stablecoin(
                    asset=row.symbol.upper(),
                    supply=supply,
                    price=None if isinstance(row.price, str) else quantity(row.price),
                    supply_day_ago=quantity(row.circulating_prev_day.get(_PEG)),
                    supply_month_ago=quantity(row.circulating_prev_month.get(_PEG)),
                )
            )
    if not coins:
        raise Malformed("it lists no stablecoin with a supply")
    coins.sort(key=lambda coin: (-coin.supply, coin.asset))
    return [*coins[:KEPT]]
