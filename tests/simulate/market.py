"""The market of a seed: what is true, second by second, whatever anybody hears of it.

It is calm for as long as depth needs to know its normal; then come shocks. Each is clearly beyond
the level of a rule or clearly within all of them, so that no moment more or less decides.
"""

from random import Random

import msgspec

from streams.events import Ms

START: Ms = 1_795_262_400_000
"""The time of day at which a run begins."""

CALM_S = 1_920
STORY_S = 420
REST_S = 300
LENGTH_S = CALM_S + STORY_S + REST_S

Points = list[tuple[float, float]]


class Shock(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happens to the market. ``size``: a fraction lost; of liquidations, USD."""

    kind: str
    at_s: int
    ramp_s: int
    lasts_s: int
    size: float


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What is true in one second. ``interest`` and ``depth`` are parts of those at the start."""

    price: float
    interest: float
    depth: float
    rate: float
    """Of funding, a fraction in 8 h."""
    liquidated: tuple[float, ...]
    """USD of longs, on each venue one order of this size."""


def skipped(t: Ms) -> bool:
    """Whether the second of ``t`` is one of those that are left out, of most of the calm: there is
    nothing to see, and every fifth is enough for silence to be none."""
    second = t // 1000
    return second < CALM_S - 100 and second % 5 != 0


SIZES = {
    "price": (0.004, 0.03, 0.07),
    "interest": (0.005, 0.045, 0.1),
    "depth": (0.05, 0.6, 0.9),
    "liquidation": (0.4e6, 12e6, 90e6),
    "funding": (0.0, 0.0008, 0.0012),
}
"""Kind → what no rule speaks of, what one does, and what is critical."""


class Market:
    """One coin, everywhere the same but for the sizes of venues."""

    def __init__(self, seed: int) -> None:
        random = Random(f"{seed} market")
        self.shocks = _shocks(random)
        price0 = round(random.uniform(100, 90_000), 1)
        self.moments = _moments(self.shocks, price0, random)
        self.price0 = price0

    def at(self, t: Ms) -> Moment:
        """What is true ``t`` ms after the beginning."""
        return self.moments[min(max(0, t // 1000), LENGTH_S - 1)]


def _shocks(random: Random) -> list[Shock]:
    kinds = random.sample([*SIZES], random.randint(2, 5))
    together = random.random() < 0.5
    first = CALM_S + random.randint(40, 150)
    return [
        Shock(
            kind=kind,
            at_s=first + random.randint(0, 90) if together else CALM_S + random.randint(30, 240),
            ramp_s=random.randint(5, 50),
            lasts_s=random.randint(80, 150),
            size=random.choices(SIZES[kind], (1, 3, 2))[0],
        )
        for kind in kinds
    ]


def _moments(shocks: list[Shock], price0: float, random: Random) -> list[Moment]:
    of = {shock.kind: shock for shock in shocks}
    price = _fall(of.get("price"), back=False)
    interest = _fall(of.get("interest"), back=False)
    depth = _fall(of.get("depth"), back=True)
    rate = _fall(of.get("funding"), back=True)
    burst = of.get("liquidation")
    wander = 0.0
    moments: list[Moment] = []
    for second in range(LENGTH_S):
        wander = wander * 0.98 + (random.random() - 0.5) * 0.0001
        usd = 0.0
        if burst and burst.at_s <= second < burst.at_s + burst.ramp_s:
            usd = burst.size / burst.ramp_s / 2
        moments.append(
            Moment(
                price=price0 * _at(price, second) * (1 + wander),
                interest=_at(interest, second) * (1 + wander / 10),
                depth=round(_at(depth, second), 2),
                rate=0.0001 + _at(rate, second) - 1,
                liquidated=(usd, usd) if usd else (),
            )
        )
    return moments


def _fall(shock: Shock | None, *, back: bool) -> Points:
    if shock is None:
        return [(0, 1)]
    low, at = 1 - shock.size, shock.at_s
    points: Points = [(0, 1), (at, 1), (at + shock.ramp_s, low)]
    if back:
        end = at + shock.ramp_s + shock.lasts_s
        points += [(end, low), (end + 20, 1)]
    return points


def _at(points: Points, second: float) -> float:
    """The value of a curve, straight between its points, level beyond them."""
    before = points[0]
    for point in points:
        if second < point[0]:
            part = (second - before[0]) / (point[0] - before[0])
            return before[1] + part * (point[1] - before[1])
        before = point
    return before[1]
