"""Which coin the demo lists on which venue, and how large its market is there."""

from bot.demo.story.market import COINS, Listed

_BY_NAME = {coin.name: coin for coin in COINS}


def _row(
    name: str,
    symbol: str,
    grid: tuple[float, int, int, int],
    sizes: tuple[float, float, float, float],
    hours: int = 8,
) -> Listed:
    tick, levels_apart, price_digits, size_digits = grid
    open_interest, depth, volume, liquidated = sizes
    return Listed(
        symbol=symbol,
        coin=_BY_NAME[name],
        tick=tick,
        grid=levels_apart,
        price_digits=price_digits,
        size_digits=size_digits,
        open_interest=open_interest,
        depth=depth,
        volume=volume,
        liquidated=liquidated,
        funding_hours=hours,
    )


# (tick, levels' distance in ticks, digits of price, digits of size),
# (open interest, depth of a side within 25 bp, volume of 24 h, liquidated), millions of USD.
BINANCE = (
    _row("BTC", "BTCUSDT", (0.1, 500, 2, 3), (11_400, 25, 17_800, 330)),
    _row("ETH", "ETHUSDT", (0.01, 180, 2, 3), (9_200, 20, 19_500, 260)),
    _row("SOL", "SOLUSDT", (0.01, 9, 2, 2), (2_600, 9, 5_900, 120)),
    _row("DOGE", "DOGEUSDT", (0.00001, 10, 5, 0), (930, 4, 1_900, 50)),
    _row("HYPE", "HYPEUSDT", (0.001, 18, 3, 2), (450, 2.5, 1_100, 45), hours=4),
    _row("PEPE", "1000PEPEUSDT", (0.0000001, 38, 7, 0), (340, 2, 900, 30)),
)
BYBIT = (
    _row("BTC", "BTCUSDT", (0.1, 500, 2, 3), (7_000, 12, 8_600, 1_100)),
    _row("ETH", "ETHUSDT", (0.01, 180, 2, 2), (4_500, 9, 7_400, 850)),
    _row("SOL", "SOLUSDT", (0.01, 9, 2, 1), (1_900, 4.5, 2_900, 380)),
    _row("DOGE", "DOGEUSDT", (0.00001, 10, 5, 0), (610, 2, 800, 130)),
    _row("HYPE", "HYPEUSDT", (0.001, 18, 3, 2), (520, 1.5, 700, 170), hours=4),
    _row("PEPE", "1000PEPEUSDT", (0.0000001, 38, 7, 0), (210, 1, 400, 70)),
)
# Books rounded to 4 significant figures: the tick is the width of the venue's bucket.
HYPERLIQUID = (
    _row("BTC", "BTC", (100.0, 1, 1, 5), (4_000, 11, 5_100, 0), hours=1),
    _row("ETH", "ETH", (1.0, 1, 1, 4), (3_200, 8, 4_300, 0), hours=1),
    _row("SOL", "SOL", (0.1, 1, 2, 2), (1_700, 4, 1_500, 0), hours=1),
    _row("HYPE", "HYPE", (0.01, 1, 3, 2), (1_900, 3, 1_600, 0), hours=1),
)
