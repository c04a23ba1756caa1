"""What the tests of the adapters share: fixtures, golden events, invariants, mutations."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import msgspec

from streams.contracts import FUNDING_HOURS, Terms
from streams.events import (
    Funding,
    Instrument,
    Kind,
    Liquidation,
    MacroPrice,
    OpenInterest,
    Price,
    Volume,
)
from streams.venue import (
    CANDLE,
    BookUpdate,
    Candle,
    ChannelNumber,
    Decoded,
    ListedContracts,
    Listing,
    Mid,
    Place,
    Reply,
    Unreadable,
    Venue,
    take_channel,
)
from streams.venues import VENUES
from tests.golden import check_text

HERE = Path(__file__).resolve().parent
SEEN = 1_795_262_412_345
Read = Callable[[bytes], list[Decoded]]


def body(venue: str, name: str) -> bytes:
    return (HERE / "fixtures" / venue / name).read_bytes()


def lines(venue: str, name: str) -> list[bytes]:
    return [line for line in body(venue, name).splitlines() if line]


@cache
def listed(venue: str) -> ListedContracts:
    """What the fixtures ``listing_*.json`` of a venue say."""
    names = sorted(path.name for path in (HERE / "fixtures" / venue).glob("listing_*.json"))
    return VENUES[venue].instruments([body(venue, name) for name in names])


@cache
def listing(venue: str) -> Listing:
    """The contracts that are not being ended, of those that are listed."""
    known, order, *_ = listed(venue)
    return Listing(instruments={i.symbol: i for i in known if i.ends_at is None}, order=order)


def largest(venue: str, symbol: str = "BTC", count: int = 1) -> list[Instrument]:
    """Made-up instruments of a venue, ``count`` of them."""
    return [
        Instrument(venue=venue, symbol=f"{symbol}{place}USDT", asset=symbol, quote="USDT")
        for place in range(count)
    ]


def reader(venue: str, file: str, known: Listing) -> Read:
    """The function that reads a file, by its name: ``ws_``, ``poll_<kind>``, ``snapshot_``,
    ``check_`` or ``history_<kind>``, which is of the first contract that the answer names, else of
    the first that is listed.

    ``poll_<kind>_each`` is the answer to a poll of a single contract, beside one of all of them.
    ``check_<n>`` is the answer to the n-th of ``checks`` of the first contract that is listed.
    """
    module: Venue = VENUES[venue]
    how, _, rest = file.partition(".")[0].partition("_")
    if how == "ws":
        return hearing(module, known)
    if how == "snapshot":
        return lambda data: [module.decode_snapshot(rest, data, known)]
    if how == "check":
        request = module.checks([*known.instruments.values()][:1])[int(rest) - 1]
        return lambda data: module.decode_check(request, data, known, SEEN)
    if how == "history":
        text = body(venue, file).decode()
        named = [i for i in known.instruments.values() if f'"{i.symbol}"' in text]
        of = (named or [*known.instruments.values()])[0]
        histories = module.histories([of])
        history = next(h for h in histories if h.kind == rest)
        return lambda data: module.decode_history(history, data, known, SEEN)
    assert how == "poll", f"{file}: name it ws_…, poll_…, snapshot_…, check_<n> or history_<kind>"
    polls = module.polls(list(known.instruments.values()), frozenset(Kind))
    kind, each = Kind(rest.removesuffix("_each")), rest.endswith("_each")
    poll = next(p for p in polls if p.kind is kind and (p.request.symbol or not each))
    return lambda data: module.decode_poll(poll, data, known, SEEN)


def hearing(module: Venue, known: Listing) -> Read:
    """What reads the frames of one connection."""
    channels: dict[int, str] = {}
    heard = msgspec.structs.replace(known, channels=channels)

    def read(frame: bytes) -> list[Decoded]:
        decoded = module.decode(frame, heard, SEEN)
        for item in decoded:
            if isinstance(item, ChannelNumber):
                take_channel(channels, item)
        return decoded

    return read


def fixtures() -> Iterator[tuple[str, str]]:
    """(venue, file) of every fixture that is decoded."""
    for venue in VENUES:
        for path in sorted((HERE / "fixtures" / venue).iterdir()):
            if not path.name.startswith("listing_"):
                yield venue, path.name


def as_line(decoded: Sequence[Decoded]) -> str:
    """The results of one frame as one line of a golden file."""
    named = [_named(result) for result in decoded]
    return (
        msgspec.json.encode(named)
        .decode()
        .replace(',"checksum":null', "")
        .replace(',"answer":""', "")
    )


def _named(result: Decoded) -> list[object]:
    """With the names of the contract, also where a venue decodes into a BookUpdate of its own."""
    kind = BookUpdate if isinstance(result, BookUpdate) else type(result)
    if kind is type(result):
        return [kind.__name__, result]
    fields = {name: getattr(result, name) for name in kind.__struct_fields__}
    return [kind.__name__, kind(**fields)]


def check_golden(name: str, lines: Sequence[str], limit: int = 8_000) -> None:
    """``lines`` equals the golden file; large ones are kept as a digest and their beginning."""
    text = "".join(line + "\n" for line in lines)
    if len(text) > limit:
        digest = {
            "lines": len(lines),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "first": [line[:400] for line in lines if line != "[]"][:3],
        }
        text = json.dumps(digest, indent=1, ensure_ascii=False) + "\n"
    check_text(HERE / "golden" / name, text)


def check_invariants(result: Decoded) -> None:
    """What holds of everything an adapter ever says."""
    if isinstance(result, Reply | Unreadable | Place | ChannelNumber):
        return
    if isinstance(result, Terms):
        assert result.funding_hours in (None, *FUNDING_HOURS)
        assert result.funding_cap is None or result.funding_cap > 0
        return
    if isinstance(result, Mid):
        assert result.symbol
        assert 0 < result.price < float("inf")
        return
    if isinstance(result, Candle):
        assert result.at % CANDLE == 0 and len(str(result.at)) == 13
        assert 0 < result.open < float("inf") and 0 < result.close < float("inf")
        return
    assert len(str(result.at)) == 13 or (result.at == 0 and is_answer(result))
    match result:
        case BookUpdate():
            check_book(result)
            return
        case Funding():
            assert -1 < result.rate < 1
            assert result.hours in FUNDING_HOURS
            assert result.next_at is None or (len(str(result.next_at)) == 13 and not result.settled)
        case OpenInterest():
            assert 0 <= result.base < float("inf")
            assert result.usd is None or 0 <= result.usd < float("inf")
        case Liquidation():
            assert min(result.price, result.base, result.usd) > 0
            assert abs(result.price * result.base / result.usd - 1) < 1e-9
        case Price():
            assert (result.last is None) is not result.spot
            assert result.spot or result.mark is not None or result.index is not None
            assert result.last is None or 0 < result.last < float("inf")
            assert result.mark is None or 0 < result.mark < float("inf")
            assert result.index is None or 0 < result.index < float("inf")
        case MacroPrice():
            assert 0 < result.mark < float("inf")
            assert result.day_ago is None or 0 < result.day_ago < float("inf")
            assert 0 <= result.usd_24h < float("inf")
        case Volume():
            assert 0 <= result.usd_24h < float("inf")
        case _:
            raise AssertionError(f"unexpected {result!r}")
    assert result.seen == SEEN
    assert result.symbol
    assert result.asset


def is_answer(result: Decoded) -> bool:
    """A book that was asked for: it may have no time."""
    return isinstance(result, BookUpdate) and result.snapshot and result.last > 0


def check_book(update: BookUpdate) -> None:
    for levels in (update.bids, update.asks):
        assert all(0 < price < float("inf") for price, _ in levels)
        assert all(0 <= size < float("inf") for _, size in levels)
    assert 0 <= update.step < float("inf")


def check_uncrossed(update: BookUpdate) -> None:
    """Of snapshots as venues really send them (not of mutated ones)."""
    if update.snapshot and update.bids and update.asks:
        assert max(update.bids)[0] < min(update.asks)[0]
