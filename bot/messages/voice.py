"""The speaking part of ``bot.messages.render``: one alert and one language.

Fills phrases, escapes what is put into them, writes times, prices and the names of venues.
"""

import html
from collections.abc import Callable, Mapping

from bot.lang import ENGLISH, numbers
from bot.lang.words import Words
from rules.alerts import Alert, FundingFacts
from rules.context import SERIES
from streams.durations import DAY, MINUTE
from streams.events import Ms
from streams.sources import SOURCES
from streams.venues import VENUES

# the first that fits counts
_TOPICS = {
    "funding_negative_share_": "breadth",
    "funding_predicted_": "predicted",
    "funding_dispersion_": "structure",
    "funding_": "funding",
    "oi_total_": "total",
    "oi_": "oi",
    "depth_": "depth",
    "liq_total_": "structure",
    "liq_": "liq",
    "price_down_share_": "falls",
    "price_": "price",
    "volatility_": "structure",
    "drawdown_": "structure",
    "market_cap_": "structure",
    "correlation_": "structure",
    "spot_": "structure",
    "stablecoin_": "structure",
    "sector_": "structure",
    "support_": "structure",
    "regime_": "regime",
    "composite": "cascade",
}


_SPOT = " spot"
"""What the title of a spot market ends with, behind the brand."""

_AGAINST_USUAL = ("_sigma", "_x_normal")

AHEAD: Ms = MINUTE
LATE: Ms = 30 * MINUTE
"""Further ahead of us, or further behind us, an event has the time of another clock, where the
alert does not say how the clocks stand."""


class Html(str):
    """Text that is Telegram HTML already, so that it is not escaped again."""

    __slots__ = ()


class Voice:
    """One alert and one language: fills phrases, writes times and venue names."""

    def __init__(self, alert: Alert, words: Words) -> None:
        self.alert = alert
        self.words = words
        self.topic = topic(alert.metric)

    def say(self, key: str, counted: int | None = None, /, **values: str) -> Html:
        """As ``say``, in the language of this voice."""
        return say(self.words, key, counted, **values)

    def time(self, ms: Ms) -> Html:
        """Shown by Telegram in the reader's own zone; with the day if it is another one."""
        return time(self.words, ms, self.alert.at)

    def our_time(self, ms: Ms) -> Html:
        """As ``time``, of a moment that this machine's clock has dated, such as a beginning."""
        return self.time(ms + self._clocks_apart())

    @property
    def began(self) -> Ms:
        """When the episode began, by this machine's clock as it was at ``alert.seen``."""
        alert = self.alert
        return alert.opened_at if alert.began is None else alert.began

    def lasted(self) -> str:
        """How long the episode has lasted; of one that began before the clock was set back by
        nobody knows how much, nobody knows."""
        length = self.alert.seen - self.began
        return self.words.length(length) if length >= 0 else str(self.say("length.unknown"))

    def _clocks_apart(self) -> Ms:
        """How far the clock of the venue, by which ``alert.at`` is, is ahead of this machine's; 0
        where both may be right. So that one post has the times of one clock."""
        if self.alert.ahead:
            return self.alert.ahead
        ahead = self.alert.at - self.alert.seen
        # a settlement is told as of its time, and what came late is of its time too
        settled = isinstance(self.alert.facts, FundingFacts)
        apart = ahead > AHEAD or (ahead < -LATE and not settled)
        return ahead if apart else 0

    def bare_time(self, ms: Ms) -> Html:
        """As ``our_time``, for a line of several times."""
        ms += self.alert.ahead
        return Html(
            f'<tg-time unix="{ms // 1000}" format="t">{self.words.bare_clock(ms)}</tg-time>'
        )

    def by_venue(self, values: Mapping[str, float], show: Callable[[float], str]) -> str:
        """``Binance −9.1 · Bybit −8.4``, the worst first."""
        return self.listed(
            {title(venue, self.words): value for venue, value in values.items()}, show
        )

    def listed(self, values: Mapping[str, float], show: Callable[[float], str]) -> str:
        """``BTC −9.1 · ETH −8.4``, the worst first."""
        worst = sorted(values.items(), key=lambda item: item[1], reverse=self.above)
        return self.words.dot.join(f"{name} {show(value)}" for name, value in worst)

    def sentences(self, *parts: str) -> Html:
        """``parts``, each Html, in one line; empty ones are left out."""
        return Html(self.words.sentence.join(part for part in parts if part))

    def price(self) -> Html:
        """What one coin costs and, where known, cost at the start of the window."""
        now, before, words = self.alert.price, self.alert.price_before, self.words
        if now is None:
            return Html()
        if not before or words.price(before) == words.price(now):
            return self.say("price", price=words.price(now))
        pct = numbers.change(100 * (now / before - 1))
        return self.say("price.moved", before=words.price(before), price=words.price(now), pct=pct)

    @property
    def above(self) -> bool:
        return self.alert.fires == "above"


def say(words: Words, key: str, counted: int | None = None, /, **values: str) -> Html:
    """The phrase ``key`` of a language with ``values`` in it, each escaped unless it is Html.

    ``counted``: of a phrase that counts something, how many those are. What is English
    where it arises is put into the language: a reason, and how a command is written.
    """
    safe = {
        name: value
        if isinstance(value, Html)
        else html.escape(_put(words, name, value), quote=False)
        for name, value in values.items()
    }
    return Html(words.phrase(key, counted).format(**safe))


def _put(words: Words, place: str, value: str) -> str:
    match place:
        case "reason" | "why":
            return words.reasons.translated(value)
        case "usage":
            return words.usage(value)
        case _:
            return value


def time(words: Words, ms: Ms, now: Ms) -> Html:
    """``ms`` for a reader at ``now``: Telegram shows it in the reader's own zone."""
    same_day = ms // DAY == now // DAY
    shape, text = ("t", words.clock(ms)) if same_day else ("dt", words.date(ms))
    return Html(f'<tg-time unix="{ms // 1000}" format="{shape}">{text}</tg-time>')


def topic(metric: str) -> str:
    """Which set of phrases tells of ``metric``; ``other`` where none is written for it."""
    of = next((name for start, name in _TOPICS.items() if metric.startswith(start)), "other")
    return "usual" if metric.endswith(_AGAINST_USUAL) and of != "structure" else of


def title(name: str, words: Words = ENGLISH) -> str:
    """The name of a venue, or of a context source, as people write it. Of a spot market the brand
    stays, and what it is is said in the language: ``Binance spot``, ``Binance現物``."""
    known = VENUES.get(name) or SOURCES.get(name)
    text = known.SPEC.title if known else name.removeprefix(SERIES)
    brand = text.removesuffix(_SPOT)
    return text if brand == text else words.phrases["venue.spot"].format(venue=brand)
