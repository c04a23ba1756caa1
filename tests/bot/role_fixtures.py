"""Settings, rules that fire often, and a history that makes them."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bot.config import Secret, Settings
from bot.config.chats import ChatSettings, OperatorSettings
from bot.config.source import Part, Source
from rules.alerts import AlertOrNotice, Level
from rules.engine import Engine
from rules.rule import Rule
from streams.events import AnyEvent, Liquidation, Position, Tick
from tests.rules import mix

VENUES = mix.VENUES


def settings(folder: Path, **changes: object) -> Settings:
    """Settings of three venues that are not there, with ``lively`` rules."""
    from bot.config import VenueSettings

    nowhere = {"websocket": "ws://127.0.0.1:1", "rest": "http://127.0.0.1:1"}
    plain = Settings(
        path=folder / "config.toml",
        chats=(ChatSettings(posts_per_hour=1_000),),
        operators=OperatorSettings(),
        webhooks=(),
        webhook_secret=None,
        resend=True,
        language="en",
        group_wait=dict.fromkeys(Level, 0),
        api_url="http://127.0.0.1:1",
        token=None,
        redis_url=None,
        data_dir=folder / "data",
        keep=3_600_000,
        max_mb=8,
        venues=tuple(VenueSettings(name=name, **nowhere) for name in VENUES),
        majors=("BTC",),
        large=("ETH",),
        own_tiers={},
        tail=3,
        rules=tuple(lively()),
        composites=(),
        tests=(),
        source=Source((Part(folder / "config.toml"),)),
    )
    return msgspec.structs.replace(plain, **changes)


def secret(text: str) -> Secret:
    return Secret(text)


def lively() -> list[Rule]:
    """Rules with levels so near that the mix crosses them all the time."""
    rules = [
        mix.rule("oi_net_15m_pct", "below", (-0.2, -0.5, -0.8), -0.1),
        mix.rule("depth_100bp_pct_of_recent", "below", (99, 95, 90), 101),
        mix.rule("liq_10m_musd", "above", (0.1, 0.5, 2), 0.05),
    ]
    return [msgspec.structs.replace(rule, clear_for=20_000, cooldown=30_000) for rule in rules]


def history(seconds: int, instruments: int = 6) -> Iterator[AnyEvent]:
    """The mix with more liquidations."""
    dice = random.Random(3)
    for event in mix.events(instruments, seconds):
        yield event
        if isinstance(event, Tick) and dice.random() < 0.05:
            asset, usd = f"A{dice.randrange(instruments // 3):03d}", dice.paretovariate(1) * 5e4
            yield Liquidation(
                venue="binance", symbol=asset + "USDT", asset=asset, at=event.seen,
                seen=event.seen, position=Position.LONG, price=100.0, base=usd / 100, usd=usd,
            )  # fmt: skip


def undisturbed(rules: Sequence[Rule], events: Iterator[AnyEvent]) -> list[AlertOrNotice]:
    """What one engine says that nobody stops."""
    engine = Engine(rules, VENUES)
    return [alert for event in events for alert in engine.feed(event)]
