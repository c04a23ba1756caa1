"""Which instruments to watch. Pure.

Assets are named by the configuration, and the tail is "the next N by open interest": open interest
summed over the venues whose listing tells it; assets of which no venue tells it are ranked behind
those, by volume.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import msgspec

from streams.events import Instrument


class Markets(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator wants watched: named assets, largest first, and how many more by OI."""

    majors: tuple[str, ...]
    large: tuple[str, ...]
    tail: int

    @property
    def named(self) -> tuple[str, ...]:
        """Majors and large assets, in the order of the configuration."""
        return self.majors + self.large


def choose_assets(
    listed: Iterable[Instrument], markets: Markets, chosen: Collection[str] = ()
) -> tuple[str, ...]:
    """The assets to watch, named ones first, then the tail by rank.

    An asset already in ``chosen`` stays while it ranks within 1.2 times the tail's size, so that
    two assets of equal size do not change places every day.
    """
    interest: defaultdict[str, float] = defaultdict(float)
    volume: defaultdict[str, float] = defaultdict(float)
    for instrument in listed:
        interest[instrument.asset] += instrument.open_interest_usd or 0.0
        volume[instrument.asset] += instrument.volume_24h_usd or 0.0
    ranked = sorted(
        (asset for asset in interest if asset not in markets.named),
        key=lambda asset: (-interest[asset], -volume[asset], asset),
    )
    near = set(ranked[: int(markets.tail * 1.2)])
    staying = [asset for asset in ranked if asset in chosen and asset in near]
    fresh = [asset for asset in ranked if asset not in staying]
    tail = set((staying + fresh)[: markets.tail])
    return markets.named + tuple(asset for asset in ranked if asset in tail)


def choose_instruments(listed: Sequence[Instrument], assets: Sequence[str]) -> list[Instrument]:
    """One venue's instruments of these assets: in the order of assets, the largest first."""
    rank = {asset: place for place, asset in enumerate(assets)}
    wanted = [instrument for instrument in listed if instrument.asset in rank]
    return sorted(
        wanted,
        key=lambda i: (
            rank[i.asset],
            -(i.open_interest_usd or 0.0),
            -(i.volume_24h_usd or 0.0),
            i.symbol,
        ),
    )
