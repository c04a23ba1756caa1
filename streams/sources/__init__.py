"""The context sources: one module each, of what no venue says, checked against their contract."""

from streams.source import ContextSource
from streams.sources import coingecko, defillama, forexfactory, kalshi, polymarket

SOURCES: dict[str, ContextSource] = {
    "coingecko": coingecko,
    "defillama": defillama,
    "kalshi": kalshi,
    "polymarket": polymarket,
    "forexfactory": forexfactory,
}
