"""The speaking part of ``bot.messages``: one alert and one language.

Fills phrases, escapes what is put into them, writes times, prices and the names of venues.
"""

import html
from collections.abc import Callable, Mapping

from bot.lang import numbers
from bot.lang.words import Words
from rules.alerts import Alert
from streams.events import Ms
from streams.venues import VENUES

_FAMILIES = {
    "funding_predicted_": "predicted",
    "funding_": "funding",
    "oi_": "oi",
    "depth_": "depth",
    "liq_": "liq",
}


class Html(str):
    """Text that is Telegram HTML already, so that it is not escaped again."""

    __slots__ = ()


class Voice:
    """One alert and one language: fills phrases, writes times and venue names."""

    def __init__(self, alert: Alert, words: Words) -> None:
        self.alert = alert
        self.words = words
        self.family = family(alert.metric)

    def say(self, key: str, **values: str) -> Html:
        """The phrase ``key`` with ``values`` in it, each escaped unless it is Html."""
        safe = {
            name: value if isinstance(value, Html) else html.escape(value, quote=False)
            for name, value in values.items()
        }
        return Html(self.words.phrases[key].format(**safe))

    def time(self, ms: Ms) -> Html:
        """Shown by Telegram in the reader's own zone; with the day if it is another one."""
        same_day = ms // 86_400_000 == self.alert.at // 86_400_000
        shape, text = ("t", self.words.clock(ms)) if same_day else ("dt", self.words.date(ms))
        return Html(f'<tg-time unix="{ms // 1000}" format="{shape}">{text}</tg-time>')

    def by_venue(self, values: Mapping[str, float], show: Callable[[float], str]) -> str:
        """``Binance −9.1 · Bybit −8.4``, the worst first."""
        worst = sorted(values.items(), key=lambda item: item[1], reverse=self.above)
        return " · ".join(f"{title(venue)} {show(value)}" for venue, value in worst)

    def price(self) -> Html:
        """What one coin costs and, where known, cost at the start of the window."""
        now, before, words = self.alert.price, self.alert.price_before, self.words
        if now is None:
            return Html()
        if not before:
            return self.say("price", price=words.price(now))
        pct = numbers.change(100 * (now / before - 1))
        return self.say("price.moved", before=words.price(before), price=words.price(now), pct=pct)

    @property
    def above(self) -> bool:
        return self.alert.fires == "above"


def family(metric: str) -> str:
    """Which set of phrases tells of ``metric``; ``other`` where none is written for it."""
    return next((name for start, name in _FAMILIES.items() if metric.startswith(start)), "other")


def title(venue: str) -> str:
    """The venue's name as people write it."""
    known = VENUES.get(venue)
    return known.SPEC.title if known else venue
