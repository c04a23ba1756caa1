"""The README's pictures, of the demo's crash as posts have them:

python -m tests.alert_pictures docs
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from bot.config import Settings, VenueSettings, load
from bot.demo.play import MARKETS, STORY
from bot.lang import LANGUAGES
from bot.metriclog import MetricLog
from bot.pictures.drawing import ThemeName, draw
from bot.pictures.process import png
from bot.pictures.request import PictureRequest, recorded_picture
from bot.pictures.subject import alert_subject, zone_of
from bot.replay import Replay
from rules.alerts import Alert
from rules.engine import Engine
from streams.durations import DAY
from streams.events import Ms, Tick

SHIPPED = Path(__file__).parents[1] / "config.toml"


class ShownPicture(NamedTuple):
    """Which alert is shown, the last of that rule on that asset, and how."""

    rule: str
    asset: str
    theme: ThemeName
    language: str


SHOWN: Mapping[str, ShownPicture] = {
    "picture.oi.png": ShownPicture("oi_drop:15m", "BTC", "dark", "en"),
    "picture.depth.png": ShownPicture("depth_thin:25bp", "ETH", "light", "en"),
    "picture.liq.png": ShownPicture("liq_burst", "BTC", "dark", "zh-TW"),
}


def main() -> None:
    """Write the pictures into the folder that the command line names."""
    with TemporaryDirectory() as folder:
        settings = demo_settings(Path(folder))
        alerts, end = played(settings)
        for name, shown in SHOWN.items():
            request = requested(settings, alerts, shown, end)
            picture = recorded_picture(request)
            if picture is None:
                sys.exit(f"{name}: nothing is recorded of it")
            svg = draw(picture, request.size, request.theme)
            Path(sys.argv[1], name).write_bytes(png(svg))


def demo_settings(folder: Path) -> Settings:
    """What is shipped, with the venues and coins of the demo."""
    majors, large = MARKETS
    venues = tuple(VenueSettings(name=name) for name in ("binance", "bybit", "hyperliquid"))
    shipped = load(SHIPPED, {})
    return msgspec.structs.replace(
        shipped, venues=venues, majors=majors, large=large, tail=1, data_dir=folder
    )


def played(settings: Settings) -> tuple[list[Alert], Ms]:
    """What the rules say of the demo's crash, and when it is over; what they see of it is in the
    metric log."""
    names = [venue.name for venue in settings.venues]
    engine = Engine(settings.rules, names, settings.composites)
    log = MetricLog(settings.data_dir / "metrics", 400 * DAY, 1_000)
    alerts: list[Alert] = []
    end: Ms = 0
    for event in Replay(settings, names).events([STORY]):
        alerts += [turn for turn in engine.feed(event) if isinstance(turn, Alert)]
        if isinstance(event, Tick):
            end = event.seen
            if log.due(end):
                log.write(end, engine.observed())
    return alerts, end


def requested(
    settings: Settings, alerts: list[Alert], shown: ShownPicture, end: Ms
) -> PictureRequest:
    """The picture of an alert as it is at the end of the demo, over the demo alone."""
    mine = [alert for alert in alerts if (alert.rule, alert.asset) == (shown.rule, shown.asset)]
    zone = zone_of(None, LANGUAGES[shown.language])
    request = alert_subject(settings, mine[-1:], zone, shown.theme, end)
    if request is None:
        sys.exit(f"{shown.rule} on {shown.asset} has no alert in the demo")
    began = min(alert.opened_at for alert in alerts)
    panels = [msgspec.structs.replace(panel, last=None) for panel in request.panels]
    return msgspec.structs.replace(request, start=began, end=end, panels=panels)


if __name__ == "__main__":
    main()
