"""Speed and memory, measured: ``make bench`` prints the figures and writes build/bench.json.

Ratios are taken within one run; the book is the best of several rounds, the engine a mean; nothing
here fails on a slow machine. What needs the recorded BTC book is left out, and says so, where
../shared is absent.
"""

import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from streams.events import Instrument
from streams.feed.book import Book
from streams.venue import BookUpdate, Listing
from streams.venues import binance
from tests import bench_backtest, bench_pictures, bench_pipeline, bench_structure
from tests.conftest import ROOT
from tests.rules import mix

RECORDING = "frames/binance-usdm/btcusdt_ws_depth_trade_bookticker_2024-08-08"
ROUNDS = 15
INSTRUMENTS = (10, 100, 1_000, 3_000)
SHARED = Path(os.environ.get("LOWTIDE_SHARED") or ROOT.parent / "shared")
BUILD = ROOT / "build"

Figures = dict[str, object]


def main() -> None:
    """Run the parts that the command line names, or all of them."""
    parts: dict[str, Callable[[], Figures]] = {
        "book": book,
        "engine": engine,
        "structure": bench_structure.structure,
        "pipeline": bench_pipeline.pipeline,
        "memory": bench_pipeline.memory,
        "backtest": bench_backtest.backtest,
        "pictures": bench_pictures.pictures,
    }
    BUILD.mkdir(exist_ok=True)
    path = BUILD / "bench.json"
    figures: Figures = json.loads(path.read_text()) if path.exists() else {}
    for name in sys.argv[1:] or parts:
        print(f"{name} …", flush=True)
        for key, value in parts[name]().items():
            figures[key] = value
            print(f"  {key:28} {value}", flush=True)
        path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {path.relative_to(Path.cwd())}")


def book() -> Figures:
    """Decode, keep the book and sample depth once a second of venue time, against orjson alone."""
    if not (SHARED / f"{RECORDING}.jsonl.gz").exists():
        return {"book_how": "not measured: the recorded BTC book is not here"}
    with gzip.open(SHARED / f"{RECORDING}.jsonl.gz") as lines:
        frames = [line.strip() for line in lines if b'"depthUpdate"' in line]
    body = (SHARED / f"{RECORDING}_rest_depth_snapshot.json").read_bytes()
    instrument = Instrument(venue="binance", symbol="BTCUSDT", asset="BTC", quote="USDT")
    listing = Listing(instruments={"BTCUSDT": instrument})
    snapshot = binance.decode_snapshot("BTCUSDT", body, listing)

    def alone() -> None:
        for frame in frames:
            orjson.loads(frame)

    def ours() -> None:
        _keep_book(frames, snapshot, listing)

    rounds = [(_seconds(alone), _seconds(ours)) for _ in range(ROUNDS)]
    orjson_s, ours_s = min(a for a, _ in rounds), min(b for _, b in rounds)
    return {
        "book_ratio": round(orjson_s / ours_s, 3),
        "book_frames_per_s": round(len(frames) / ours_s),
        "orjson_frames_per_s": round(len(frames) / orjson_s),
        "book_how": (
            f"{len(frames)} recorded BTCUSDT depth frames (62 levels each): binance.decode + Book +"
            f" sample at 1 Hz of venue time, over orjson.loads of the same frames; one core, best"
            f" of {ROUNDS} rounds each, rounds of both alternating"
        ),
    }


def _keep_book(frames: Sequence[bytes], snapshot: BookUpdate, listing: Listing) -> None:
    kept, due = Book(), 0
    decode = binance.decode
    for frame in frames:
        for update in decode(frame, listing, 0):
            assert isinstance(update, BookUpdate)
            kept.update(update)
            if not kept.synced:
                kept.offer(snapshot)
            if update.at >= due:
                due = update.at + 1_000
                kept.sample()
    assert kept.synced


def engine() -> Figures:
    """Events a second through a warm engine, and its state, for ever more instruments."""
    points = [mix.point(instruments) for instruments in INSTRUMENTS]
    figures: Figures = {f"engine_events_per_s_{p.instruments}": p.events_per_s for p in points}
    thousand = next(p for p in points if p.instruments == 1_000)
    return figures | {
        "engine_longest_tick_ms_1000": thousand.longest_tick_ms,
        "engine_state_mb_1000": thousand.held_mb,
        "engine_dump_mb_1000": thousand.dump_mb,
        "engine_dump_s_1000": thousand.dump_s,
        "engine_load_s_1000": thousand.load_s,
        "engine_how": (
            f"tests/rules/mix.py: {len(mix.rules())} rules like those of config.toml and a cascade,"
            " each for every asset; warm, state of four hours and of all hours of the day; CPU time"
            " of one core, mean over 30 s of events"
        ),
    }


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
