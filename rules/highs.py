"""How far something is below its high since it is watched, and when that was. Pure.

A price is compared with itself. Open interest is not: venues come and go, and a sum over more of
them is no rise. So an index of it is kept that moves by what the same contracts did from one look
to the next, in coins: one that is dark meanwhile is taken to do what the others do, and where most
are dark the next look goes on from the last one. The index of a group of coins moves by what its
coins' own indices did, each weighed by its USD, in the same way.

A rise that may be an error (``rules.interest.Departure``) sets no high. Once it is known to be none
it did when it came, and not when it was known.

State of a coin: 40 bytes for its price; for its open interest 60 bytes and some 30 for each
contract. Of the market, for each group: 40 bytes and some 20 for each coin.
"""

from array import array
from collections.abc import Mapping, Sequence

import msgspec

from rules.interest import MAX_AGE
from rules.market import Keep, Market, View
from rules.metric import LEAST_SHARE
from rules.returns import SETTLES
from streams.durations import DAY, MINUTE
from streams.events import Kind, Ms

READY: Ms = DAY
"""A high of less time is none."""

LATE: Ms = 2 * MINUTE
"""What was last seen so long ago is not now."""

_ROUNDING = 1e-9
"""Two ways to one value differ by less."""


class High:
    """The high of a value that is positive, and the value now."""

    __slots__ = ("at", "began", "hole", "last", "last_at", "value")

    def __init__(self) -> None:
        self.began: Ms = 0
        """Since when it is watched; 0: it was never seen."""
        self.value = 0.0
        """The highest value."""
        self.at: Ms = 0
        """When that was."""
        self.last = 0.0
        """The newest value."""
        self.last_at: Ms = 0
        """When that was."""
        self.hole: tuple[Ms, Ms] = (0, 0)
        """The last time for which it was not seen; (0, 0): there was none."""

    def take(self, value: float, now: Ms) -> None:
        """The value now."""
        if self.last_at and now - self.last_at > LATE:
            self.hole = self.last_at, now
        self.began = self.began or now
        if value > self.value:
            self.value, self.at = value, now
        self.last, self.last_at = value, now

    def rise(self, value: float, at: Ms) -> None:
        """It was that value at ``at``, as is known now."""
        if value > self.value:
            self.value, self.at = value, at

    def fill(self, values: Mapping[Ms, float]) -> None:
        """Values of before it was watched, of its last hole, and of one that goes on, which are
        told later."""
        since, until = self.hole
        unseen = {
            at: value
            for at, value in values.items()
            if at < self.began or since < at < until or at > self.last_at + LATE
        }
        if not unseen:
            return
        value, earlier = max((value, -at) for at, value in unseen.items())
        if (value, earlier) > (self.value, -self.at):
            self.value, self.at = value, -earlier
        first = min(unseen)
        self.began = min(self.began or first, first)
        if any(since < at < until for at in unseen):
            self.hole = (0, 0)

    def remembered(self, since: Ms) -> Ms | None:
        """Up to when it is known without a hole; None: not as far back as ``since``."""
        if not self.began or self.began > since:
            return None
        return self.hole[0] or self.last_at

    def below_pct(self, now: Ms) -> float | None:
        """How far the value is from its high, %, at most 0; None: unknown now, or not watched for
        long enough."""
        if not self.began or now - self.began < READY or now - self.last_at > LATE:
            return None
        return 100 * (self.last / self.value - 1)

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.began, self.at = min(self.began, now), min(self.at, now)
        self.last_at, self.hole = min(self.last_at, now), (0, 0)

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        times = self.began, self.at, self.last_at, *self.hole
        began, at, last_at, *hole = map(float, times)
        return [array("d", [began, self.value, at, self.last, last_at, *hole]).tobytes()]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) != 1 or len(dumped[0]) not in (8 * 5, 8 * 7):  # once without the hole
            raise ValueError("the dumped high is cut short: start without it")
        began, self.value, at, self.last, last_at, *hole = array("d", dumped[0])
        self.began, self.at, self.last_at = int(began), int(at), int(last_at)
        since, until = hole or (0, 0)
        self.hole = int(since), int(until)


class Doubt(msgspec.Struct, array_like=True):
    """What an index would be if all that is shown were so."""

    shown: dict[str, float] = {}
    """The parts that show more than is believed, which may be an error."""
    last: float = 0.0
    """The newest value with them; 0: nothing is doubted."""
    peak: float = 0.0
    """The highest since something is doubted."""
    at: Ms = 0
    """When that was."""


_decoder = msgspec.msgpack.Decoder(dict[str, float])
_doubt_decoder = msgspec.msgpack.Decoder(Doubt)


class Index:
    """An index, 1 at its beginning, of the sum of parts that come and go; and its high."""

    __slots__ = ("_doubt", "_parts", "high")

    def __init__(self) -> None:
        self.high = High()
        self._doubt = Doubt()
        self._parts: dict[str, float] = {}

    @property
    def shown(self) -> float:
        """The newest value, with what is shown and may be an error."""
        return self._doubt.last or self.high.last

    def due(self, now: Ms) -> bool:
        """Whether this minute was not looked at yet."""
        return now // MINUTE > self.high.last_at // MINUTE

    def take(
        self,
        parts: Mapping[str, float],
        worth: Mapping[str, float],
        now: Ms,
        shown: Mapping[str, float] | None = None,
    ) -> None:
        """The parts that are known now, and what one of each is worth now, at both ends alike.
        ``shown``: more of some of them, which may be an error."""
        same = [name for name in parts if name in self._parts]
        before = sum([self._parts[name] * worth[name] for name in same])
        after = sum([parts[name] * worth[name] for name in same])
        value = (self.high.last or 1.0) * (after / before if before > 0 else 1.0)
        more, doubt = shown or {}, self._doubt
        ended = [name for name in doubt.shown if name not in more]
        if ended:
            if all(self._is_so(name, parts) for name in ended):
                self.high.rise(doubt.peak, doubt.at)
                if value <= doubt.peak * (1 + _ROUNDING):
                    value = min(value, doubt.peak)
            doubt = Doubt()
        if more:
            believed = sum([parts[name] * worth[name] for name in parts])
            extra = sum([(held - parts[name]) * worth[name] for name, held in more.items()])
            doubt.last = value * (1 + extra / believed)
            if doubt.last > doubt.peak:
                doubt.peak, doubt.at = doubt.last, now
        doubt.shown = dict(more)
        self._doubt = doubt
        self.high.take(value, now)
        self._parts = dict(parts)

    def _is_so(self, name: str, parts: Mapping[str, float]) -> bool:
        """Whether a part that is no longer doubted is nearer to what it showed than to before."""
        held = parts.get(name, 0.0)
        return held * held > self._doubt.shown[name] * self._parts[name]

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.high.set_back(now)
        self._doubt.at = min(self._doubt.at, now)

    def dump(self) -> list[bytes]:
        """All of it as bytes; the numbers in this machine's byte order."""
        encode = msgspec.msgpack.encode
        return [*self.high.dump(), encode(self._parts), encode(self._doubt)]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) not in (2, 3):  # once without what is doubted
            raise ValueError("the dumped index is cut short: start without it")
        try:
            parts = _decoder.decode(dumped[1])
            doubt = _doubt_decoder.decode(dumped[2]) if len(dumped) == 3 else Doubt()
        except msgspec.MsgspecError as error:
            raise ValueError("the dumped index is not readable: start without it") from error
        self.high.load(dumped[:1])
        self._parts, self._doubt = parts, doubt


PRICE_HIGH = Keep("price_high", High)
INTEREST = Keep("interest_index", Index)


def learn_price(view: View, now: Ms) -> None:
    """The price of an asset, as it was when it is known which prices were passing spikes."""
    price = view.price_at(now - SETTLES)
    if price is not None:
        view.keep(PRICE_HIGH).take(price, now)


def learn_interest(view: View, now: Ms) -> None:
    """The open interest of an asset, once a minute, if most of it is known."""
    index = view.keep(INTEREST)
    if not index.due(now):
        return
    held: dict[str, float] = {}
    worth: dict[str, float] = {}
    shown: dict[str, float] = {}
    price, total, known = view.price(now), 0.0, 0.0
    for market in view.ordered:
        coins = market.oi_base
        if not coins or not market.one_side:
            continue
        total += coins
        level, left = market.interest.level, market.interest.left
        coins_each = 1.0 if not market.inverse else 1 / price if price else None
        if level is not None and coins_each is not None and _fresh(market, now):
            name = f"{market.venue}/{market.symbol}"
            held[name], worth[name] = level, coins_each
            if left is not None and left.before < level:
                held[name], shown[name] = left.before, level
            known += coins
    if held and known >= LEAST_SHARE * total:
        index.take(held, worth, now, shown)


def learn_group(index: Index, group: Sequence[View], now: Ms) -> None:
    """The open interest of a group of assets, each of which was just learned, once a minute."""
    if not index.due(now):
        return
    indices: dict[str, float] = {}
    worth: dict[str, float] = {}
    shown: dict[str, float] = {}
    total, known = 0.0, 0.0
    for asset in group:
        usd = sum(asset.usd_held().values())
        total += usd
        own = asset.memo(INTEREST)
        if own is not None and usd > 0 and now - own.high.last_at < MINUTE:
            indices[asset.asset], worth[asset.asset] = own.high.last, usd / own.high.last
            if own.shown > own.high.last:
                shown[asset.asset] = own.shown
            known += usd
    if indices and known >= LEAST_SHARE * total:
        index.take(indices, worth, now, shown)


def _fresh(market: Market, now: Ms) -> bool:
    line = market.line(Kind.OPEN_INTEREST)
    return line is not None and line.up and line.seen is not None and now - line.seen <= MAX_AGE
