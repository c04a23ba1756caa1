"""The picture of a metric and the price above it, as the configuration has them. Pure."""

import re
from collections.abc import Sequence

import msgspec

from bot.config import Settings
from bot.lang import ENGLISH
from bot.lang.words import Words
from bot.messages.blocks import plain
from bot.messages.headline import metric_name
from bot.messages.voice import Html, say, topic
from bot.pictures.drawing import PictureEpisode, PictureLevel, ThemeName
from bot.pictures.request import LOWER_BOUND, PanelRequest, PictureRequest
from bot.plan.planner import Quiet, severity
from bot.plan.weekly import WEEK
from rules.alerts import ALL, Alert, CascadeFacts, Turn
from rules.metrics import metric, of_spot
from rules.rule import Rule
from rules.snapshot import PRICE
from streams.durations import DAY, HOUR
from streams.events import Ms
from streams.venues import VENUES

_FROM_ZERO = ("M USD", "M USD a day")
"""Units of amounts that are seen against nothing."""

_OF_ITSELF = ("% of recent", "% of normal")
"""Units of what is compared with itself, which the name of the metric tells."""

_BAND = re.compile(r"±[\d.]+%")

_LOWER_BOUNDS = _FROM_ZERO
"""Units of what venues have reported, of which there may have been more."""


def drawable(name: str) -> bool:
    """Whether the values of a metric are a line: those of a regime and of a composite are not."""
    return topic(name) not in ("regime", "cascade")


def zone_of(quiet: Quiet | None, words: Words) -> str:
    """In which zone readers live: that of their quiet hours, or that of their language."""
    return words.phrases["format.zone"] if quiet is None else quiet.zone


def picture_caption(request: PictureRequest, words: Words) -> Html:
    """What a picture shows, in a reader's language. The price is named once, if it is what is seen
    below itself as well."""
    shown = request.subject
    alone = shown.asset == ALL or topic(shown.metric) == "price"
    return say(
        words,
        "ask.chart.alone" if alone else "ask.chart.about",
        name=metric_name(words, shown.metric),
        length=words.window(request.end - request.start).strip(),
        zone=request.zone,
    )


def metric_title(name: str) -> str:
    """``Open interest in 1h, %``: in English, which every picture has."""
    label = plain(metric_name(ENGLISH, name))
    label = label[:1].upper() + label[1:]
    unit = metric(name).unit
    if "%" not in _BAND.sub("", label):  # a band is no unit
        label = f"{label}, {'%' if unit.startswith(_OF_ITSELF) else unit}"
    return f"{label} {LOWER_BOUND}" if unit in _LOWER_BOUNDS else label


def subject(
    settings: Settings,
    name: str,
    asset: str,
    span: tuple[Ms, Ms],
    zone: str,
    *,
    rule: Rule | None = None,
    instrument: str = "",
    venues: Sequence[str] = (),
    episodes: Sequence[PictureEpisode] = (),
    price: float | None = None,
    value: float | None = None,
) -> PictureRequest:
    """The metric ``name`` of an asset from the first to the last moment of ``span``.

    ``rule``: the one whose levels are in it; None: the first that asks for the metric. ``venues``:
    by their names, those whose data it shows; (): all that have such data. ``price``, ``value``:
    at the end of ``span``.
    """
    rules = [rule] if rule is not None else [r for r in settings.rules if r.metric == name]
    row = next((row for of in rules if (row := of.row_of(asset)) is not None), None)
    levels = () if row is None else row.levels.items()
    title = "The market" if asset == ALL else asset
    return PictureRequest(
        folder=str(settings.data_dir / "metrics"),
        title=f"{title} ({instrument})" if instrument else title,
        panels=(
            _price(asset, price),
            _panel(name, asset, instrument=instrument, last=value, optional=False, levels=[
                PictureLevel(level, threshold) for level, threshold in levels
            ]),
        ),
        venues=[VENUES[venue].SPEC.title for venue in venues or _venues(settings, name)],
        zone=zone,
        start=span[0],
        end=span[1],
        episodes=episodes,
    )  # fmt: skip


def _price(asset: str, last: float | None = None) -> PanelRequest:
    return PanelRequest(metric=PRICE, asset=asset, title="Price, USD", last=last, optional=True)


def _panel(
    name: str,
    asset: str,
    *,
    instrument: str = "",
    last: float | None = None,
    levels: Sequence[PictureLevel] = (),
    optional: bool = True,
) -> PanelRequest:
    return PanelRequest(
        metric=name,
        asset=asset,
        instrument=instrument,
        title=metric_title(name),
        levels=levels,
        from_zero=metric(name).unit in _FROM_ZERO,
        last=last,
        optional=optional,
    )


WEEK_SIZE = (1280, 1440)
"""Pixels of the picture of a week: as high as its panels need."""

_WEEK = ("oi_net_24h_pct", "funding_8h_pct", "depth_25bp_pct_of_normal", "volatility_7d_pct")
"""What the report on a week states of a coin, minute by minute."""


def week_subject(settings: Settings, week: Ms, zone: str, theme: ThemeName) -> PictureRequest:
    """The picture of a week's report, from its Monday on: of the first of the majors what the
    report states, and the liquidations of all coins. What is not recorded is left out."""
    coin = next(iter(settings.tiers.majors), ALL)
    of_all = _panel("liq_total_24h_musd", ALL)
    title = of_all.title[:1].lower() + of_all.title[1:]
    return PictureRequest(
        folder=str(settings.data_dir / "metrics"),
        title=coin if coin != ALL else "The market",
        panels=(
            _price(coin),
            *(_panel(name, coin) for name in _WEEK),
            msgspec.structs.replace(of_all, title=f"All coins: {title}"),
        ),
        venues=[VENUES[venue].SPEC.title for venue in _venues(settings, _WEEK[0])],
        zone=zone,
        start=week,
        end=week + WEEK,
        size=WEEK_SIZE,
        theme=theme,
    )


def week_caption(request: PictureRequest, words: Words) -> Html:
    """What a picture of a week shows, in a reader's language."""
    names = [metric_name(words, panel.metric) for panel in request.panels if panel.metric != PRICE]
    return say(
        words,
        "week.picture",
        asset=request.panels[0].asset,
        list=words.comma.join(map(plain, names)),
        zone=request.zone,
    )


def alert_subject(
    settings: Settings, alerts: Sequence[Alert], zone: str, theme: ThemeName, now: Ms
) -> PictureRequest | None:
    """What is drawn of one event or several: the worst of ``alerts`` whose metric is a line. Of a
    composite it is the metric that began it. None: there is nothing to be drawn."""
    for alert in sorted(alerts, key=severity):
        chain = alert.facts.chain if isinstance(alert.facts, CascadeFacts) else ()
        link = next((link for link in chain if drawable(link.metric)), None)
        name, rule_name = (alert.metric, alert.rule) if link is None else (link.metric, link.rule)
        if not drawable(name):
            continue
        began = alert.opened_at if alert.began is None else alert.began
        span = min(max(_ALERT_SPAN, _WINDOWS * (metric(name).window or 0)), _LONGEST)
        end = max(now, alert.seen)
        hours = -(-max(span, end - began + HOUR) // HOUR)
        request = subject(
            settings,
            name,
            alert.asset,
            (end - min(hours * HOUR, _LONGEST), end),
            zone,
            rule=next((rule for rule in settings.rules if rule.name == rule_name), None),
            instrument=alert.instrument,
            venues=alert.venues,
            episodes=(PictureEpisode(began, alert.seen if alert.turn is Turn.CLOSE else None),),
            price=alert.price,
            value=alert.value if link is None else None,
        )
        return msgspec.structs.replace(request, theme=theme)
    return None


_ALERT_SPAN: Ms = 6 * HOUR
"""So long before an alert a picture begins …"""

_WINDOWS = 6
"""… or so many windows of its metric …"""

_LONGEST: Ms = 3 * DAY
"""… but no earlier than this."""


def _venues(settings: Settings, name: str) -> list[str]:
    """Those that are listened to and have data of the metric."""
    kinds, spot = metric(name).kinds, of_spot(name)
    specs = {venue.name: VENUES[venue.name].SPEC for venue in settings.venues}
    return [venue for venue, spec in specs.items() if spec.spot is spot and spec.kinds & kinds]
