"""``lowtide record``: raw frames of some symbols, with receive times, to a file."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bot.config import Settings
from streams.clock import WallClock
from streams.consumer import Consumer
from streams.events import AnyEvent, Instrument
from streams.recording import Recorded, Writer
from streams.venues import VENUES


async def record(settings: Settings, venue: str, symbols: Sequence[str], output: Path) -> int:
    """Record until interrupted; the exit code. Says how many frames were written."""
    if venue not in VENUES:
        return _fail(f"no venue is called {venue!r}: choose one of {', '.join(VENUES)}")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        writer = Writer(output)
    except OSError as error:
        return _fail(f"cannot write {output}: {error.strerror}")
    except ValueError as error:
        return _fail(f"cannot write {output}: {error}")
    try:
        with writer:
            return await _listen(settings, venue, symbols, writer, stop)
    except OSError as error:
        return _fail(f"cannot write {output}: {error.strerror}")


async def _listen(
    settings: Settings,
    venue: str,
    symbols: Sequence[str],
    writer: Writer,
    stop: asyncio.Event,
) -> int:
    written = 0
    full: list[OSError] = []
    assets: set[str] = set()
    unknown: list[str] = []

    def tap(frame: Recorded) -> None:
        nonlocal written
        try:
            writer.write(frame)
        except OSError as error:
            full.append(error)
            stop.set()
        else:
            written += 1

    def listed(_: str, instruments: Sequence[Instrument]) -> None:
        known = {i.symbol: i.asset for i in instruments}
        assets.update(known[symbol] for symbol in symbols if symbol in known)
        unknown[:] = [symbol for symbol in symbols if symbol not in known]
        if unknown:
            stop.set()

    async def choose() -> Sequence[str]:
        return sorted(assets)

    place = next((v for v in settings.venues if v.name == venue), None)
    consumer = Consumer(
        VENUES[venue],
        place.websocket if place else None,
        place.rest if place else None,
        _nobody,
        WallClock(),
        tap,
        frozenset(symbols),
    )
    listening = asyncio.create_task(consumer.run(listed, choose))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([listening, stopping], return_when=asyncio.FIRST_COMPLETED)
    listening.cancel()
    stopping.cancel()
    results = await asyncio.gather(listening, stopping, return_exceptions=True)
    if unknown:
        return _fail(f"{venue} does not list {', '.join(unknown)}: use its own names, as BTCUSDT")
    if full:
        raise full[0]
    if isinstance(results[0], Exception):
        raise results[0]
    print(f"{written:,} frames recorded", file=sys.stderr)  # noqa: T201
    return 0


def _nobody(_: AnyEvent) -> None:
    """Events are not wanted here, only frames."""


def _fail(text: str) -> int:
    print(text, file=sys.stderr)  # noqa: T201
    return 1
