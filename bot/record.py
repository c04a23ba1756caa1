"""``lowtide record``: raw frames of some symbols, with receive times, to a file."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bot.config import Settings
from streams.clock import WallClock
from streams.events import AnyEvent, Instrument
from streams.feed.client import VenueClient
from streams.feed.recording import Recorded, RecordingWriter
from streams.venues import VENUES


async def record(settings: Settings, venue: str, symbols: Sequence[str], output: Path) -> int:
    """Record until interrupted; the exit code. Says how many frames were written."""
    if venue not in VENUES:
        return _fail(f"no venue is called {venue!r}: choose one of {', '.join(VENUES)}")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        writer = RecordingWriter(output)
    except OSError as error:
        return _fail(f"cannot write {output}: {error.strerror}")
    except ValueError as error:
        return _fail(f"cannot write {output}: {error}")
    try:
        with writer:
            return await _listen(settings, venue, symbols, writer, stop)
    except OSError as error:
        return _fail(f"cannot write {output}: {error.strerror}")


class _Recording:
    """What comes while it is recorded, until ``stop``."""

    def __init__(
        self, symbols: Sequence[str], writer: RecordingWriter, stop: asyncio.Event
    ) -> None:
        self.written = 0
        self.full: OSError | None = None
        self.unknown: list[str] = []
        self._assets: set[str] = set()
        self._symbols = symbols
        self._writer = writer
        self._stop = stop

    def tap(self, frame: Recorded) -> None:
        """Write a frame; a disk that takes no more ends the recording."""
        try:
            self._writer.write(frame)
        except OSError as error:
            self.full = error
            self._stop.set()
        else:
            self.written += 1

    def listed(self, _: str, instruments: Sequence[Instrument]) -> None:
        """The venue's listing: symbols that are not in it end the recording."""
        known = {i.symbol: i.asset for i in instruments}
        self._assets.update(known[symbol] for symbol in self._symbols if symbol in known)
        self.unknown = [symbol for symbol in self._symbols if symbol not in known]
        if self.unknown:
            self._stop.set()

    async def choose(self) -> Sequence[str]:
        """The assets of the symbols."""
        return sorted(self._assets)


async def _listen(
    settings: Settings,
    venue: str,
    symbols: Sequence[str],
    writer: RecordingWriter,
    stop: asyncio.Event,
) -> int:
    recording = _Recording(symbols, writer, stop)
    place = next((v for v in settings.venues if v.name == venue), None)
    venue_client = VenueClient(
        VENUES[venue],
        place.websocket if place else None,
        place.rest if place else None,
        _nobody,
        WallClock(),
        recording.tap,
        frozenset(symbols),
        settings.proxies,
    )
    listening = asyncio.create_task(venue_client.run(recording.listed, recording.choose))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([listening, stopping], return_when=asyncio.FIRST_COMPLETED)
    listening.cancel()
    stopping.cancel()
    results = await asyncio.gather(listening, stopping, return_exceptions=True)
    if recording.unknown:
        names = ", ".join(recording.unknown)
        return _fail(f"{venue} does not list {names}: use its own names, as BTCUSDT")
    if recording.full is not None:
        raise recording.full
    if isinstance(results[0], Exception):
        raise results[0]
    print(f"{recording.written:,} frames recorded", file=sys.stderr)  # noqa: T201
    return 0


def _nobody(_: AnyEvent) -> None:
    """Events are not wanted here, only frames."""


def _fail(text: str) -> int:
    print(text, file=sys.stderr)  # noqa: T201
    return 1
