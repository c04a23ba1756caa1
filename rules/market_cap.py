"""What all coins together are worth: circulating supplies of a source × prices. Pure.

The coins are those that the source lists (``Supply``), the prices those of the venues where they
trade what is watched, else the list's own. A contract's price is that of the coin only where both
were within a fifth of each other while the list was new; from then on the coin moves as it does
here, whatever the list still says. The change over a day is that of the same coins at the supplies
of now, by an index (``rules.highs``): neither a supply that is revised nor a coin that joins or
leaves the list is a move. Which round trillions it goes through ``rules.rounds`` says, of what is
known alone.

State: some 60 bytes for each coin of the list, 16 for each ten minutes of a day, and some 40 for
each round trillion near it.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from rules.highs import LATE, Index
from rules.likeness import APART
from rules.market import Keep, View
from rules.metric import LEAST_SHARE
from rules.rounds import Rounds
from streams.durations import DAY, MINUTE
from streams.events import ContextFacts, Ms, Supply

NEW: Ms = 10 * MINUTE
"""So long after the list was asked for its prices are those of now."""

TRILLION = 1e12
"""What is round of it."""

STEP: Ms = 10 * MINUTE
_NEAR: Ms = 2 * STEP
"""A value of a day ago is one of at most so much earlier."""

_SPLIT = 2.0
"""Prices so many times apart, while the list is new, are of different coins."""


class ListedCoin(msgspec.Struct, array_like=True):
    """A coin of the list."""

    asset: str
    circulating: float
    price: float
    """USD per coin, of the list."""
    own: bool | None = False
    """Whether what trades here under its name is it; None: never, since a larger coin has the
    name."""


class CapState(msgspec.Struct, array_like=True):
    """What is known of the list, and the index of the last day."""

    source: str = ""
    seen: Ms = 0
    """When the list was asked for."""
    good_until: Ms = 0
    coins: list[ListedCoin] = []
    trail: list[tuple[Ms, float]] = []
    """Times, ten minutes apart, and the index then."""
    usd: float = 0.0
    """The total at ``looked_at``."""
    live_usd: float = 0.0
    """The part of it at prices of now."""
    looked_at: Ms = 0
    rounds: Rounds = msgspec.field(default_factory=Rounds)
    """The round trillions that it goes through."""


_decoder = msgspec.msgpack.Decoder(CapState)


class MarketCapMemory:
    """The list, and what it is worth."""

    __slots__ = ("_index", "state")

    def __init__(self) -> None:
        self.state = CapState()
        self._index = Index()

    def take(self, event: ContextFacts, now: Ms) -> None:
        """A source has answered; one that lists no coins is none of ours."""
        supplies = [fact for fact in event.facts if isinstance(fact, Supply)]
        if not supplies:
            return
        state, own = self.state, {coin.asset for coin in self.state.coins if coin.own}
        state.source, state.seen, state.good_until = event.source, now, now + event.good_for
        state.coins = []
        names: set[str] = set()
        for supply in supplies:
            is_own = None if supply.asset in names else supply.asset in own
            names.add(supply.asset)
            coin = ListedCoin(supply.asset, supply.circulating, supply.price, is_own)
            state.coins.append(coin)

    def learn(self, assets: Mapping[str, View], now: Ms) -> None:
        """What it is worth now, once a minute, while the list may be believed."""
        state, index = self.state, self._index
        if not state.coins or now > state.good_until or not index.due(now):
            return
        prices: dict[str, float] = {}
        worth: dict[str, float] = {}
        state.usd = state.live_usd = 0.0
        for name, coin, price in self._priced(assets, now):
            usd = coin.circulating * (coin.price if price is None else price)
            state.usd += usd
            if price is not None:
                state.live_usd += usd
            if not coin.own or price is not None:
                prices[name], worth[name] = price or coin.price, coin.circulating
        state.looked_at = now
        if self.known(now):
            state.rounds.take(state.usd / TRILLION, now)
        index.take(prices, worth, now)
        if not state.trail or now // STEP > state.trail[-1][0] // STEP:
            state.trail.append((now, index.high.last))
            while state.trail[0][0] < now - DAY - _NEAR:
                del state.trail[0]

    def known(self, now: Ms) -> bool:
        """Whether it is known now: enough of it is at prices of now."""
        state = self.state
        is_new = bool(state.looked_at) and now - state.looked_at <= LATE
        return is_new and state.live_usd >= LEAST_SHARE * state.usd

    def change_24h_pct(self, now: Ms) -> float | None:
        """Of the same coins; None: it is not known what they were worth a day ago."""
        then = now - DAY
        before = [value for at, value in self.state.trail if then - _NEAR <= at <= then]
        return 100 * (self._index.high.last / before[-1] - 1) if before else None

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: how old the list is nobody knows."""
        rounds = self.state.rounds
        rounds.set_back(now)
        self.state = CapState(rounds=rounds)
        self._index = Index()

    def dump(self) -> list[bytes]:
        """All of it as bytes; numbers of the index in this machine's byte order."""
        return [msgspec.msgpack.encode(self.state), *self._index.dump()]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) not in (3, 4):  # once its index had one part less
            raise ValueError("the dumped supplies are cut short: start without them")
        try:
            state = _decoder.decode(dumped[0])
        except msgspec.MsgspecError as error:
            raise ValueError("the dumped supplies are not readable: start without them") from error
        self._index.load(dumped[1:])
        self.state = state

    def _priced(
        self, assets: Mapping[str, View], now: Ms
    ) -> Iterator[tuple[str, ListedCoin, float | None]]:
        """Each coin with a name of its own, and its price here; None: it has none."""
        is_new = now - self.state.seen <= NEW
        for place, coin in enumerate(self.state.coins):
            view = None if coin.own is None else assets.get(coin.asset)
            price = None if view is None else view.price(now)
            if price is not None and is_new:
                apart = max(price, coin.price) / min(price, coin.price)
                coin.own = apart <= (_SPLIT if coin.own else APART)
            # by its place where another coin may have the name
            name = coin.asset if coin.own else f"{coin.asset}#{place if coin.own is None else ''}"
            yield name, coin, price if coin.own else None


MARKET_CAP = Keep("market_cap", MarketCapMemory)
