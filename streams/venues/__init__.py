"""The venues: one module each, checked against the contract by the type checker."""

from streams.venue import Venue
from streams.venues import (
    binance,
    binance_spot,
    bitfinex,
    bitget,
    bybit,
    coinbase,
    deribit,
    gate,
    htx,
    hyperliquid,
    kraken,
    kraken_spot,
    lighter,
    okx,
)

VENUES: dict[str, Venue] = {
    "binance": binance,
    "bybit": bybit,
    "hyperliquid": hyperliquid,
    "okx": okx,
    "bitget": bitget,
    "binance-coinm": binance.COIN_M,
    "bybit-inverse": bybit.INVERSE,
    "gate": gate,
    "aster": binance.ASTER,
    "deribit": deribit,
    "kraken": kraken,
    "htx": htx,
    "bitfinex": bitfinex,
    "lighter": lighter,
    "binance-spot": binance_spot,
    "coinbase": coinbase,
    "bybit-spot": bybit.SPOT,
    "okx-spot": okx.SPOT,
    "kraken-spot": kraken_spot,
}
