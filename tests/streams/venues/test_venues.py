"""Every venue against the contract, without being told about it: fixtures, limits, rubbish."""

import itertools
import json
import re
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contracts import Terms
from streams.events import (
    SPOT_KINDS,
    Band,
    ClockStep,
    ContextFacts,
    Depth,
    Fault,
    FeedState,
    Funding,
    FundingHistory,
    Instrument,
    InterestHistory,
    Kind,
    Liquidation,
    MacroPrice,
    OpenInterest,
    Price,
    PriceHistory,
    Tick,
    Volume,
    decode,
    encode,
    kind_of,
)
from streams.venue import (
    NO_INTEREST,
    BookUpdate,
    Candle,
    ChannelNumber,
    Decoded,
    Listing,
    Malformed,
    Mid,
    Place,
    Poll,
    Reply,
    Request,
    Sides,
    Unreadable,
)
from streams.venues import VENUES
from tests.streams.venue_cases import (
    HERE,
    SEEN,
    as_line,
    body,
    check_golden,
    check_invariants,
    check_uncrossed,
    fixtures,
    largest,
    lines,
    listed,
    listing,
    reader,
)

FIXTURES = list(fixtures())
FRAMES = [(venue, file, frame) for venue, file in FIXTURES for frame in lines(venue, file)]
NORMALISATION = (HERE.parents[1] / "NORMALISATION.md").read_text(encoding="utf-8")
BODIES = [
    (venue, number) for venue in VENUES for number in range(len(VENUES[venue].listing_requests()))
]
by_venue = pytest.mark.parametrize("venue", list(VENUES))
SPOT = [name for name, module in VENUES.items() if module.SPEC.spot]
PERPETUAL = [name for name in VENUES if name not in SPOT]
NAMELESS = ("bitfinex", "lighter")
"""Venues whose rows have no symbol, or are lists or bare names: their own tests are of those."""
with_named_rows = pytest.mark.parametrize("venue", [v for v in VENUES if v not in NAMELESS])
of_perpetuals = pytest.mark.parametrize("venue", PERPETUAL)


@pytest.mark.parametrize(("venue", "file"), FIXTURES)
def test_fixtures_decode_to_their_golden_events(venue: str, file: str) -> None:
    read = reader(venue, file, listing(venue))
    answers = [read(frame) for frame in lines(venue, file)]
    for fact in (fact for decoded in answers for fact in decoded):
        check_invariants(fact)
        if isinstance(fact, BookUpdate):
            check_uncrossed(fact)
    if file.startswith("ws_ignored"):
        assert not any(answers)
    check_golden(
        f"{venue}/{file.removesuffix('.json').removesuffix('.jsonl')}.jsonl",
        list(map(as_line, answers)),
    )


@by_venue
def test_fixtures_have_every_kind_that_the_venue_gives(venue: str) -> None:
    kinds: set[Kind] = set()
    replies: set[bool] = set()
    settled: set[bool] = set()
    for file in (file for of, file in FIXTURES if of == venue):
        read = reader(venue, file, listing(venue))
        for fact in (fact for frame in lines(venue, file) for fact in read(frame)):
            if isinstance(fact, BookUpdate):
                kinds.add(Kind.DEPTH)
            elif isinstance(fact, Reply):
                replies.add(fact.ok)
            elif isinstance(fact, Terms | Mid | Place | Unreadable | Candle | ChannelNumber):
                continue
            else:
                assert not isinstance(fact, Depth)
                kinds.add(kind_of(fact))
                if isinstance(fact, Funding):
                    settled.add(fact.settled)
                assert msgspec.json.decode(encode(fact))["venue"] == venue
    spec = VENUES[venue].SPEC
    assert kinds == spec.kinds
    assert (True in settled) == (spec.tells_settlements and Kind.FUNDING in kinds)
    assert replies == {True, False}


@by_venue
def test_listing_gives_its_golden_instruments(venue: str) -> None:
    known, order, unreadable, _ = listed(venue)
    assert unreadable == ()
    rows = [msgspec.json.encode(contract).decode() for contract in known]
    check_golden(f"{venue}/listing.jsonl", [*rows, json.dumps(order)])
    assert all(contract.venue == venue == VENUES[venue].SPEC.name for contract in known)


ENDED = {
    "binance": (0, b'"contractType":"PERPETUAL","deliveryDate":4133404800000,"status":"TRADING"',
                (b'"contractType":"PERPETUAL","deliveryDate":4133404800000,"status":"SETTLING"', 0),
                (b'"contractType":"PERPETUAL","deliveryDate":1795262400000,"status":"TRADING"',
                 1_795_262_400_000)),
    "bybit": (1, b'"status":"Trading","baseCoin":"BTC","quoteCoin":"USDT","settleCoin":"USDT",'
              b'"launchTime":"1584230400000","deliveryTime":"0"',
              (b'"status":"Delivering","baseCoin":"BTC","quoteCoin":"USDT","deliveryTime":"0"', 0),
              (b'"status":"Trading","baseCoin":"BTC","quoteCoin":"USDT",'
               b'"deliveryTime":"1795262400000"', 1_795_262_400_000)),
    "hyperliquid": (0, b'"name":"BTC"', (b'"name":"BTC","isDelisted":true', 0)),
    "okx": (0, b'"expTime":""', (b'"expTime":"1795262400000"', 1_795_262_400_000)),
    "gate": (0, b'"status":"trading","in_delisting":false',
             (b'"status":"delisting","in_delisting":false', 0),
             (b'"status":"trading","in_delisting":true', 0)),
    "htx": (0, b'"delivery_time":"","contract_status":1',
            (b'"delivery_time":"","contract_status":8', 0),
            (b'"delivery_time":"1795262400000","contract_status":1', 1_795_262_400_000)),
    "lighter": (0, b'"status":"active"', (b'"status":"inactive"', 0)),
    "bitfinex": (0, b"BTCF0:USTF0"),  # no end is announced there
    "kraken": (0, b'"tradeable":true',
               (b'"tradeable":true,"lastTradingTime":"2026-11-21T12:00:00.000Z"',
                1_795_262_400_000)),
    "deribit": (0, b'"state":"open","creation_timestamp":1534167754000,'
                b'"expiration_timestamp":32503708800000',
                (b'"state":"delivered","expiration_timestamp":32503708800000', 0),
                (b'"state":"open","expiration_timestamp":1795262400000', 1_795_262_400_000)),
    "bitget": (0, b'"symbolStatus":"normal","offTime":"-1"',
               (b'"symbolStatus":"off","offTime":"1795132800000"', 0),
               (b'"symbolStatus":"normal","offTime":"1795348800000"', 1_795_348_800_000)),
    "binance-coinm": (0, b'"deliveryDate":4133404800000,"contractStatus":"TRADING"',
                      (b'"deliveryDate":4133404800000,"contractStatus":"PRE_DELIVERING"', 0),
                      (b'"deliveryDate":1795262400000,"contractStatus":"TRADING"',
                       1_795_262_400_000)),
    "aster": (0, b'"contractType":"PERPETUAL","deliveryDate":4133404800000,'
              b'"onboardDate":1627628400000,"status":"TRADING"',
              (b'"contractType":"PERPETUAL","deliveryDate":4133404800000,"status":"SETTLING"', 0),
              (b'"contractType":"PERPETUAL","deliveryDate":1795262400000,"status":"TRADING"',
               1_795_262_400_000)),
    "bybit-inverse": (1, b'"status":"Trading","baseCoin":"BTC","quoteCoin":"USD",'
                      b'"launchTime":"1542240000000","deliveryTime":"0"',
                      (b'"status":"Delivering","baseCoin":"BTC","quoteCoin":"USD",'
                       b'"deliveryTime":"0"', 0),
                      (b'"status":"Trading","baseCoin":"BTC","quoteCoin":"USD",'
                       b'"deliveryTime":"1795262400000"', 1_795_262_400_000)),
}  # fmt: skip


SIDES = {"binance": 1, "bybit": 2, "hyperliquid": 1, "okx": 1, "bitget": None,
         "binance-coinm": 1, "bybit-inverse": 2, "gate": None, "aster": None,
         "deribit": 1, "kraken": None, "htx": None, "bitfinex": None,
         "lighter": None}  # fmt: skip
"""What each venue counts of open interest; None: nobody knows."""


@of_perpetuals
def test_open_interest_is_of_as_many_sides_as_the_spec_says(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number in SPEC is the only place: with another one all that is read follows."""
    module, known = VENUES[venue], listing(venue)
    sides = module.SPEC.open_interest
    assert sides.counted == SIDES[venue]
    assert len(sides.source.split()) > 3

    def read(counted: Literal[1, 2] | None) -> tuple[list[OpenInterest], list[float | None]]:
        spec = msgspec.structs.replace(module.SPEC, open_interest=Sides(counted, "a test"))
        monkeypatch.setattr(module, "SPEC", spec)
        files = [(file, reader(venue, file, known)) for of, file in FIXTURES if of == venue]
        facts = [fact for file, read in files for frame in lines(venue, file)
                 for fact in read(frame) if isinstance(fact, OpenInterest)]  # fmt: skip
        bodies = [json.dumps(answer).encode() for answer in listing_answers(venue)]
        return facts, [i.open_interest_usd for i in module.instruments(bodies).instruments]

    (full, ranks), (halved, half_ranks), (unknown, no_ranks) = map(read, (1, 2, None))
    assert full
    assert [fact.base for fact in halved] == [fact.base / 2 for fact in full]
    assert [fact.usd for fact in halved] == [fact.usd and fact.usd / 2 for fact in full]
    assert half_ranks == [usd and usd / 2 for usd in ranks]
    assert all(fact.one_side for fact in (*full, *halved))
    assert unknown == [msgspec.structs.replace(fact, one_side=False) for fact in full]
    assert set(no_ranks) <= {None}


@of_perpetuals
def test_normalisation_says_what_the_venue_counts_and_who_says_so(venue: str) -> None:
    rows = [line.removesuffix(" |").split(" | ") for line in NORMALISATION.splitlines()]
    place = next(row for row in rows if row[0] == "| field" and "Binance" in row).index(
        VENUES[venue].SPEC.title
    )
    (row,) = [row for row in rows if row[0] == "| sides counted"]
    sides = VENUES[venue].SPEC.open_interest
    word = {1: "one", 2: "both", None: "unknown"}[sides.counted]
    assert row[place] == f"{word}: {sides.source}"


@of_perpetuals
def test_an_end_that_is_announced_is_read(venue: str) -> None:
    place, before, *ends = ENDED[venue]
    names = sorted(path.name for path in (HERE / "fixtures" / venue).glob("listing_*.json"))
    assert any(contract.ends_at is None for contract in listed(venue)[0])
    for after, at in ends:
        bodies = [body(venue, name) for name in names]
        assert before in bodies[place]
        bodies[place] = bodies[place].replace(before, after, 1)
        first = next(i for i in VENUES[venue].instruments(bodies)[0] if i.asset == "BTC")
        assert first.ends_at == at


@by_venue
def test_what_the_spec_says_in_words_is_so(venue: str) -> None:
    """Of intervals, of liquidations and of how far books reach, as README shows them."""
    spec = VENUES[venue].SPEC
    intervals = {i.funding_hours for i in listed(venue).instruments if not i.macro}
    assert spec.funding_hours is None or intervals == {spec.funding_hours}
    assert not spec.throttles_liquidations or spec.all_liquidations is False
    assert spec.all_liquidations is None or Kind.LIQUIDATION in spec.kinds or spec.spot
    files = {file for of, file in FIXTURES if of == venue and file.startswith(("ws_", "snapshot_"))}
    readers = {file: reader(venue, file, listing(venue)) for file in files}
    books = [
        update
        for file, read in readers.items()
        for frame in lines(venue, file)
        for update in read(frame)
        if isinstance(update, BookUpdate) and update.snapshot
    ]
    reaches = {update.reach for update in books}
    numbers = {int(number) for number in re.findall(r"[0-9]+", spec.book)}
    assert reaches
    assert reaches == {0} if spec.book == "whole" else reaches <= numbers
    assert ("buckets" in spec.book) == any(update.step for update in books)
    rolls = {update.rolling for update in books if update.reach}
    assert ("at first" in spec.book) == (rolls == {False} and not any(u.step for u in books))


@by_venue
def test_spec_joins_paths(venue: str) -> None:
    spec = VENUES[venue].SPEC
    assert not spec.websocket.endswith("/")
    assert not spec.rest.endswith("/")
    assert spec.ping is None or spec.ping.decode().isprintable()
    assert spec.answers_pings or spec.ping is not None


@by_venue
def test_paths_are_relative_and_ascii(venue: str) -> None:
    module = VENUES[venue]
    known = [*listing(venue).instruments.values(), *largest(venue, "币安人生")]
    polls = module.polls(known, frozenset(Kind))
    sockets = module.subscriptions(known, frozenset(Kind))
    answers = [module.resync(known[-1].symbol, socket) for socket in sockets]
    requests = [answer for answer in answers if isinstance(answer, Request)]
    requests += [*module.listing_requests(), *(poll.request for poll in polls)]
    requests += module.checks(known)
    paths = [request.path for request in requests] + [socket.path for socket in sockets]
    assert all(path.startswith("/") and path.isascii() and " " not in path for path in paths)


@by_venue
def test_sockets_bring_every_streamed_kind_once(venue: str) -> None:
    module = VENUES[venue]
    known = largest(venue, count=3)
    for kinds in (module.SPEC.kinds, frozenset((Kind.FUNDING,)), frozenset((Kind.DEPTH,))):
        sockets = module.subscriptions(known, kinds)
        polled = {poll.kind for poll in module.polls(known, kinds)}
        brought = [kind for socket in sockets for kind in socket.kinds]
        assert len(brought) == len(set(brought))
        assert {*brought, *polled} == kinds & module.SPEC.kinds
        for socket in sockets:
            assert set(socket.silence_s) <= socket.kinds - {Kind.LIQUIDATION}
            judged = socket.silence_s or not module.SPEC.answers_pings
            assert judged or kinds != module.SPEC.kinds


@by_venue
@pytest.mark.parametrize("count", [0, 1, 10, 600, 1200])
def test_sockets_cover_the_instruments(venue: str, count: int) -> None:
    module = VENUES[venue]
    known = largest(venue, count=count)
    sockets = module.subscriptions(known, module.SPEC.kinds)
    assert len({socket.name for socket in sockets}) == len(sockets)
    books = [s for socket in sockets if Kind.DEPTH in socket.kinds for s in socket.symbols]
    assert len(books) == len(set(books))
    if count <= 600:
        assert books == [contract.symbol for contract in known]
    for socket in sockets:
        for message in socket.messages:
            json.loads(message)
        assert all(
            json.loads(message) for message in module.resubscribe(socket.symbols[1:], socket)
        )


@by_venue
@settings(max_examples=15, deadline=None)
@given(
    walk=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 12), st.integers(0, 12)), max_size=5
    ),
    count=st.integers(1, 450),
)
def test_whatever_joins_or_leaves_who_stays_keeps_its_socket(
    venue: str, walk: list[tuple[int, int, int]], count: int
) -> None:
    """So a plan goes on from the one before, within the limits of a plan that begins."""
    module = VENUES[venue]
    names = itertools.count(count)
    known = largest(venue, count=count)
    sockets = module.subscriptions(known, module.SPEC.kinds)
    full = module.subscriptions(largest(venue, count=900), module.SPEC.kinds)
    most = {socket.kinds: len(socket.symbols) for socket in reversed(full)}
    for place, leave, join in walk:
        running = {socket.name: socket.symbols for socket in sockets}
        before = {(s, socket.kinds): socket.name for socket in sockets for s in socket.symbols}
        new = [msgspec.structs.replace(known[0], symbol=f"N{next(names)}USDT") for _ in range(join)]
        known = [*new[:1], *known[:place], *known[place + leave :], *new[1:]] or known[:1]
        sockets = module.subscriptions(known, module.SPEC.kinds, running)
        after = {(s, socket.kinds): socket.name for socket in sockets for s in socket.symbols}
        assert all(after[key] == before[key] for key in before.keys() & after.keys())
        fresh = module.subscriptions(known, module.SPEC.kinds)
        asked = sorted((s, socket.kinds) for socket in fresh for s in socket.symbols)
        assert sorted((s, socket.kinds) for socket in sockets for s in socket.symbols) == asked
        assert len({socket.name for socket in sockets}) == len(sockets)
        assert all(len(socket.symbols) <= most[socket.kinds] for socket in sockets)
        for socket in fresh:
            if not socket.symbols:
                assert socket in sockets


@by_venue
@pytest.mark.parametrize("count", [10, 600])
def test_polls_stay_within_the_budget_and_are_spread(venue: str, count: int) -> None:
    module = VENUES[venue]
    polls = module.polls(largest(venue, count=count), module.SPEC.kinds)
    budget = module.SPEC.weight_per_minute or 60 * module.SPEC.requests_per_second
    spent = [0.0] * 60
    for poll in polls:
        assert 0 <= poll.offset_s < poll.every_s
        for time in range(int(poll.offset_s), 3600, int(poll.every_s)):
            spent[time // 60] += max(poll.request.weight, 1)
    assert max(spent) <= 0.9 * budget  # the rest is for listings and snapshots


@by_venue
def test_every_kind_has_a_second_source_or_a_reason_why_not(venue: str) -> None:
    """Liquidations are too rare to be compared."""
    kinds: set[Kind] = set()
    for file in (file for of, file in FIXTURES if of == venue and file.startswith("check_")):
        read = reader(venue, file, listing(venue))
        for fact in (fact for frame in lines(venue, file) for fact in read(frame)):
            if isinstance(fact, BookUpdate | Mid):
                kinds.add(Kind.DEPTH)
            elif not isinstance(fact, Terms):
                assert not isinstance(fact, Reply | Unreadable)
                kinds.add(kind_of(fact))
    spec = VENUES[venue].SPEC
    assert kinds.isdisjoint(spec.no_second_source)
    without = spec.no_second_source.keys() - {"funding_interval"}
    assert kinds | without == spec.kinds - {Kind.LIQUIDATION}
    assert all(reason.isprintable() and reason for reason in spec.no_second_source.values())


@by_venue
def test_checks_of_three_contracts_twice_a_minute_fit_in_the_budget_beside_the_polls(
    venue: str,
) -> None:
    module = VENUES[venue]
    known = largest(venue, count=60)
    asked, listed_anew = module.checks(known[:3]), module.listing_requests()
    weighs = module.SPEC.weight_per_minute is not None
    weight = sum(request.weight if weighs else 1 for request in [*asked, *asked, *listed_anew])
    for poll in module.polls(known, module.SPEC.kinds):
        if poll.every_s < 3600:
            weight += (poll.request.weight if weighs else 1) * 60 / poll.every_s
    assert weight <= 0.8 * (module.SPEC.weight_per_minute or 60 * module.SPEC.requests_per_second)
    of_each = [request.symbol for request in asked if request.symbol]
    assert set(of_each) <= {instrument.symbol for instrument in known[:3]}
    assert len(set(of_each)) in (0, 3)
    fixtures_of_checks = [f for of, f in FIXTURES if of == venue and f.startswith("check_")]
    assert len(fixtures_of_checks) == len(module.checks(known[:1]))


@by_venue
def test_nothing_is_said_of_instruments_that_are_not_wanted(venue: str) -> None:
    nobody = Listing(instruments={}, order=listing(venue).order)
    for file in (file for of, file in FIXTURES if of == venue and file.startswith("ws_")):
        read, with_all = reader(venue, file, nobody), reader(venue, file, listing(venue))
        for frame in lines(venue, file):
            unreadable = [fact for fact in with_all(frame) if isinstance(fact, Unreadable)]
            for fact in read(frame):
                assert isinstance(fact, Reply | Place | ChannelNumber) or fact in unreadable


def check_reason(error: Exception) -> None:
    """Operators read it in a log: a sentence of what is wrong, on one line, not the whole frame."""
    text = str(error)
    assert text.isprintable(), text
    assert len(text.split()) >= 2, text
    assert len(text) <= 200, text
    if isinstance(error, msgspec.MsgspecError):
        assert re.match(
            r"(Expected `|Object missing|JSON is malformed: |Input data was truncated$|Invalid |"
            r"Number out of range)",
            text,
        ), text


def check_harmless(read: Any, data: bytes) -> None:
    """Reads, or raises what the contract allows; what is read keeps the invariants.

    Any other error, or an invariant that is broken, is raised, which fails the test that asks.
    """
    try:
        decoded = read(data)
    except (Malformed, msgspec.MsgspecError) as error:
        check_reason(error)
        return
    for fact in decoded:
        if not isinstance(fact, BookUpdate):  # impossible levels are for the book to refuse
            check_invariants(fact)


JUNK = st.sampled_from(
    (None, "", "nan", "inf", "-inf", "-1", "0", "1e308", "1e-320", -1, 0, 10**30, 1.5, True, [], {},
     "abc", "\ud800", [["0", "1"]], [["1", "-1"]], [["nan", "1"]], [[]], {"s": "BTCUSDT"})
)  # fmt: skip


def replaced(value: Any, choose: Any) -> Any:
    """``value`` with one part, chosen at random, replaced by junk or left out."""
    if not isinstance(value, dict | list) or not value or choose(st.integers(0, 4)) == 0:
        return choose(JUNK)
    copy = value.copy()
    key = choose(st.sampled_from(sorted(copy) if isinstance(copy, dict) else range(len(copy))))
    if choose(st.integers(0, 5)) == 0:
        del copy[key]
    else:
        copy[key] = replaced(copy[key], choose)
    return copy


def damaged(frame: bytes, choose: Any) -> bytes:
    """``frame`` cut, with bytes changed, or with a value of another type in it."""
    how = choose(st.sampled_from(("cut", "bytes", "value", "value", "value")))
    if how == "cut":
        return frame[: choose(st.integers(0, len(frame)))]
    if how == "bytes":
        start = choose(st.integers(0, len(frame)))
        return frame[:start] + choose(st.binary(max_size=4)) + frame[start + 2 :]
    return json.dumps(replaced(json.loads(frame), choose), separators=(",", ":")).encode()


@settings(max_examples=500, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_fixtures_raise_only_what_the_contract_says(data: st.DataObject) -> None:
    venue, file, frame = data.draw(st.sampled_from(FRAMES))
    check_harmless(reader(venue, file, listing(venue)), damaged(frame, data.draw))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_listings_raise_only_what_the_contract_says(data: st.DataObject) -> None:
    venue, number = data.draw(st.sampled_from(BODIES))
    bodies = [
        body(venue, f"listing_{place}.json")
        for place in range(1, len(VENUES[venue].listing_requests()) + 1)
    ]
    bodies[number] = damaged(bodies[number], data.draw)
    try:
        listed = VENUES[venue].instruments(bodies)
        following = VENUES[venue].next_listing_request(Request(path="/x"), bodies[number])
    except (Malformed, msgspec.MsgspecError) as error:
        check_reason(error)
    else:
        assert all(
            contract.venue == venue and contract.multiplier > 0 for contract in listed.instruments
        )
        assert following is None or following.path.startswith("/x&cursor=")


def listing_answers(venue: str) -> list[Any]:
    """The fixtures of a listing, page by page."""
    names = sorted(path.name for path in (HERE / "fixtures" / venue).glob("listing_*.json"))
    return [json.loads(body(venue, name)) for name in names]


def rows_of(venue: str, answers: list[Any]) -> list[list[Any]]:
    """The lists of rows in the answers of a listing."""
    match venue:
        case "binance" | "binance-coinm" | "aster" | "binance-spot":
            return [answers[0]["symbols"], *answers[1:]]
        case "bybit" | "bybit-inverse" | "bybit-spot":
            return [answer["result"]["list"] for answer in answers]
        case "kraken-spot":
            return [[*answer["result"].values()] for answer in answers]
        case "coinbase":
            return [answers[0]["products"]]
        case "okx" | "bitget" | "okx-spot":
            return [answer["data"] for answer in answers]
        case "gate":
            return answers
        case "htx":
            return [answers[0]["data"], answers[1]["ticks"]]
        case "deribit":
            return [answer["result"] for answer in answers]
        case "kraken":
            return [answers[0]["instruments"], answers[1]["tickers"]]
        case "lighter":
            return [answers[0]["order_book_details"]]
        case "bitfinex":
            return [answers[0][0], answers[1][0], answers[2]]
        case _:
            dexes = [meta["universe"] for meta in answers[1] if meta and meta["universe"]]
            return [answers[0][0]["universe"], answers[0][1], *dexes[1:]]


UNREADABLE_VALUES = (10**400, int("9" * 400), None, [], {}, "\x1b[2J", 10**30, -1, True, "nan")


def without_assumption(instrument: Instrument) -> Instrument:
    """The instrument, whether the venue's word on its interval was readable or not."""
    return msgspec.structs.replace(instrument, funding_assumed=False)


def spoiled_one_by_one(venue: str, answers: list[Any], most: int) -> int:
    """Every value of some rows in turn is one of those: it costs that contract and no other.

    Returns how many such listings were read.
    """
    read = 0
    listed_before = VENUES[venue].instruments([*map(msgspec.json.encode, answers)])
    whole = {i.symbol: i for i in listed_before.instruments}
    for rows in rows_of(venue, answers):
        for place in range(0, len(rows), max(1, len(rows) // most)):
            row = rows[place]
            for key, value in [*row.items()] if isinstance(row, dict) else []:
                for unreadable in UNREADABLE_VALUES:
                    row[key] = unreadable
                    bodies = [json.dumps(answer).encode() for answer in answers]
                    left, _, refused, _ = VENUES[venue].instruments(bodies)
                    others = {i.symbol: i for i in left if i.symbol in whole}
                    kept = {
                        s: i
                        for s, i in others.items()
                        if without_assumption(i) == without_assumption(whole[s])
                    }
                    assert len(whole) - len(kept) <= 1
                    assert len(refused) <= 1
                    read += 1
                row[key] = value
    return read


@with_named_rows
def test_one_unreadable_row_costs_that_contract_alone(venue: str) -> None:
    answers = listing_answers(venue)
    for rows in rows_of(venue, answers):
        rows += [dict(row) for row in rows * 2]  # so that one row is not most of them
    # two rows or three of each of two or three lists, each with some values
    assert spoiled_one_by_one(venue, answers, most=2) > 10 * len(UNREADABLE_VALUES)


SPOILED = {
    "kraken-spot": (0, "wsname", None),
    "okx-spot": (0, "baseCcy", None),
    "bybit-spot": (1, "symbol", None),
    "coinbase": (0, "base_currency_id", None),
    "binance-spot": (0, "baseAsset", None),
    "binance": (0, "deliveryDate", int("9" * 400)),
    "bybit": (1, "symbol", None),
    "hyperliquid": (0, "name", None),
    "okx": (0, "ctVal", int("9" * 400)),
    "gate": (0, "quanto_multiplier", int("9" * 400)),
    "deribit": (0, "expiration_timestamp", int("9" * 400)),
    "kraken": (0, "contractSize", int("9" * 400)),
    "htx": (0, "contract_size", int("9" * 400)),
    "bitget": (0, "offTime", int("9" * 400)),
    "binance-coinm": (0, "contractSize", int("9" * 400)),
    "aster": (0, "deliveryDate", int("9" * 400)),
    "bybit-inverse": (1, "symbol", None),
}


@with_named_rows
def test_an_unreadable_row_is_named_and_most_of_them_are_no_listing(venue: str) -> None:
    module = VENUES[venue]
    answers = listing_answers(venue)
    number, key, value = SPOILED[venue]
    rows = rows_of(venue, answers)[number]
    symbol = next(rows[0][key] for key in NAME_KEYS if key in rows[0])
    rows[0][key] = value
    name = symbol if isinstance(value, int) or key not in NAME_KEYS else '{"'
    listed_now, order, unreadable, _ = module.instruments([json.dumps(a).encode() for a in answers])
    assert len(unreadable) == 1
    assert unreadable[0].startswith(name)
    assert {i.symbol for i in listed_now} == {i.symbol for i in listed(venue)[0]} - {symbol}
    assert not order or order[:2] == ("", listed(venue)[1][1])
    for row in rows:
        row[key] = value
    with pytest.raises(Malformed, match=r"\d+ of \d+ rows cannot be read: "):
        module.instruments([json.dumps(a).encode() for a in answers])


NAME_KEYS = ("wsname", "product_id", "contract_code", "symbol", "instId", "instrument_name", "name",
             "contract")  # fmt: skip
"""What the name of a contract is called in the rows of listings."""

RANKS = {
    "kraken-spot": (1, ("v", "p")),
    "okx-spot": (1, ("volCcy24h", "instId")),
    "bybit-spot": (0, ("turnover24h", "symbol")),
    "coinbase": (0, ("approximate_quote_24h_volume",)),
    "binance-spot": (1, ("quoteVolume", "symbol")),
    "binance": (2, ("quoteVolume", "symbol")),
    "bybit": (0, ("turnover24h", "openInterestValue", "symbol")),
    "hyperliquid": (1, ("dayNtlVlm", "openInterest", "markPx")),
    "okx": (2, ("oiUsd", "instId")),
    "gate": (1, ("volume_24h_quote", "contract")),
    "deribit": (1, ("volume_usd", "open_interest", "mark_price", "instrument_name")),
    "kraken": (1, ("volumeQuote", "vol24h", "openInterest", "markPrice", "symbol")),
    "htx": (1, ("vol", "contract_code")),
    "bitfinex": (2, ()),
    "bitget": (1, ("quoteVolume", "holdingAmount", "markPrice", "symbol")),
    "binance-coinm": (2, ("volume", "symbol")),
    "aster": (2, ("quoteVolume", "symbol")),
    "bybit-inverse": (0, ("volume24h", "openInterest", "symbol")),
}


def unranked(instrument: Instrument) -> Instrument:
    return msgspec.structs.replace(instrument, open_interest_usd=None, volume_24h_usd=None)


@with_named_rows
def test_what_only_ranks_costs_no_contract(venue: str) -> None:
    """Not one row of it that cannot be read, and not all of them."""
    module, (number, keys) = VENUES[venue], RANKS[venue]
    for key, value in itertools.product(keys, ("abc", None, [], 10**400)):
        for most in (1, None):
            answers = listing_answers(venue)
            spoiled = rows_of(venue, answers)[number][:most]
            for row in spoiled:
                row[key] = value
            bodies = [json.dumps(answer).encode() for answer in answers]
            left, order, unreadable, _ = module.instruments(bodies)
            assert [unranked(i) for i in left] == [unranked(i) for i in listed(venue)[0]]
            assert order == listed(venue)[1]
            if value == "abc" and key not in NAME_KEYS:
                # where they are in the listing itself, those of what is listed
                of_listed = len(spoiled) if len(answers) > 1 else min(len(spoiled), len(left))
                assert len(unreadable) == of_listed
                ranks = {i.symbol: (i.open_interest_usd, i.volume_24h_usd) for i in left}
                assert all(ranks.get(name, (None, None)) == (None, None) for name in unreadable)


@by_venue
def test_a_ranking_that_is_no_list_costs_no_contract(venue: str) -> None:
    module = VENUES[venue]
    for rubbish in ({"code": -1003, "msg": "Way too many requests"}, None, "busy", 10**400):
        answers = listing_answers(venue)
        if len(answers) == 1:  # what ranks is in the rows of the listing itself
            break
        if venue == "hyperliquid":
            answers[0][1] = rubbish
        else:
            answers[RANKS[venue][0]] = rubbish
        left, order, unreadable, _ = module.instruments([json.dumps(a).encode() for a in answers])
        assert [unranked(i) for i in left] == [unranked(i) for i in listed(venue)[0]]
        assert {(i.open_interest_usd, i.volume_24h_usd) for i in left} == {(None, None)}
        assert order == listed(venue)[1]
        assert len(unreadable) == 1


def test_an_interval_that_cannot_be_read_is_assumed_and_costs_nothing_else() -> None:
    hours_before = {i.symbol: i.funding_hours for i in listed("binance").instruments}
    for key, value in (
        ("fundingIntervalHours", "x"),
        ("fundingIntervalHours", 3),
        ("adjustedFundingRateCap", "abc"),
    ):
        answers = listing_answers("binance")
        for row in answers[1]:
            row[key] = value
        names = {row["symbol"] for row in answers[1]}
        left, _, unreadable, _ = VENUES["binance"].instruments(
            [json.dumps(a).encode() for a in answers]
        )
        assert set(unreadable) == names
        hours = {i.symbol: i.funding_hours for i in left}
        assert hours == {s: 8 if s in names else h for s, h in hours_before.items()}
        assert {i.symbol for i in left if i.funding_assumed} == names & hours.keys()


@pytest.mark.parametrize("lost", ["row", "rows", "list", "answer"])
def test_of_whom_a_lost_interval_was_nobody_knows(lost: str) -> None:
    """A row without a symbol may be of each contract that has none: its 8 h are nobody's word."""
    answers = listing_answers("binance")
    intervals = {row["symbol"]: row["fundingIntervalHours"] for row in answers[1]}
    match lost:
        case "row":
            del answers[1][0]["symbol"]
        case "rows":
            answers[1] = [None] * len(answers[1])
        case "list":
            answers[1] = {"code": -1003, "msg": "Way too many requests"}
        case _:
            answers[1] = None
    left, _, unreadable, _ = VENUES["binance"].instruments(
        [json.dumps(a).encode() for a in answers]
    )
    assert len(unreadable) == (len(intervals) if lost == "rows" else 1)
    read = set(intervals) - {next(iter(intervals))} if lost == "row" else set[str]()
    assert {i.symbol for i in left if not i.funding_assumed} == read & {i.symbol for i in left}
    assert {(i.symbol, i.funding_hours) for i in left if not i.funding_assumed} == {
        (i.symbol, intervals[i.symbol]) for i in left if i.symbol in read
    }
    assert {i.funding_hours for i in left if i.funding_assumed} == {8}


# ── frames and answers that bring many contracts ────────────────────────

MANY = (
    ("okx-spot", "check_1.jsonl", 0),
    ("bybit-spot", "check_1.jsonl", 0),
    ("coinbase", "check_1.jsonl", 0),
    ("binance-spot", "check_1.jsonl", 0),
    ("binance-spot", "check_2.jsonl", 0),
    ("binance", "ws_mark_price.jsonl", 0),
    ("binance", "ws_mini_ticker.jsonl", 0),
    ("binance", "ws_force_order.jsonl", 0),
    ("binance", "poll_funding.jsonl", 0),
    ("bybit", "ws_liquidation.jsonl", 0),
    ("hyperliquid", "ws_contexts.jsonl", 0),
    ("okx", "ws_liquidation.jsonl", 0),
    ("okx", "poll_funding.jsonl", 0),
    ("okx", "poll_open_interest.jsonl", 0),
    ("okx", "poll_volume.jsonl", 0),
    ("binance-coinm", "ws_mark_price.jsonl", 0),
    ("binance-coinm", "ws_mini_ticker.jsonl", 0),
    ("binance-coinm", "ws_force_order.jsonl", 0),
    ("aster", "ws_mark_price.jsonl", 0),
    ("aster", "poll_funding.jsonl", 0),
    ("bybit-inverse", "ws_liquidation.jsonl", 0),
    ("bitget", "ws_liquidation.jsonl", 0),
    ("bitget", "poll_funding.jsonl", 0),
    ("bitget", "poll_price.jsonl", 0),
    ("bitget", "poll_open_interest.jsonl", 0),
    ("bitget", "poll_volume.jsonl", 0),
    ("gate", "ws_ticker.jsonl", 0),
    ("gate", "ws_liquidation.jsonl", 1),
    ("deribit", "ws_liquidation.jsonl", 1),
    ("binance", "check_1.jsonl", 0),
    ("binance", "check_2.jsonl", 0),
    ("binance", "check_3.jsonl", 0),
    ("bybit", "check_1.jsonl", 0),
    ("okx", "check_1.jsonl", 0),
    ("okx", "check_4.jsonl", 0),
    ("bitget", "check_1.jsonl", 0),
    ("gate", "check_1.jsonl", 0),
    ("kraken", "check_1.jsonl", 0),
    ("htx", "ws_funding.jsonl", 0),
    ("htx", "ws_elements.jsonl", 0),
    ("htx", "ws_liquidation.jsonl", 0),
    ("htx", "poll_open_interest.jsonl", 0),
    ("htx", "poll_volume.jsonl", 0),
    ("htx", "check_1.jsonl", 0),
    ("htx", "check_2.jsonl", 0),
)


def rows_in(message: Any) -> list[Any]:
    """The rows of a frame or an answer that brings many contracts."""
    while not isinstance(message, list):
        message = message.get("params", message)
        rows = message.get("data", message.get("result", message.get("list")))
        rows = message.get("products", message.get("tickers", message.get("ticks", rows)))
        message = message["ctxs"][0][1] if rows is None else rows
    return message


def many(venue: str, file: str, number: int) -> Any:
    """A frame of the fixtures in which there are three contracts or more."""
    frame = json.loads(lines(venue, file)[number])
    if file.startswith("ws_force_order"):  # each comes alone in the fixtures
        frame["data"] = [frame["data"], json.loads(lines(venue, file)[1])]
    rows = rows_in(frame)
    if venue.startswith(("binance", "bybit", "aster")) and file.startswith("ws_"):
        rows += [spelled(rows[0], symbol) for symbol in sorted(listing(venue).instruments)[:4]]
    return frame


def spelled(row: Any, symbol: str) -> Any:
    """The row as one of another contract."""
    if "o" in row and isinstance(row["o"], dict):
        return {**row, "o": {**row["o"], "s": symbol}}
    return {**row, "s": symbol}


def symbol_in(venue: str, row: Any, place: int) -> str:
    if venue == "hyperliquid":
        return listing(venue).order[place]
    row = row["o"] if isinstance(row.get("o"), dict) else row
    return row.get("s") or next(row[key] for key in NAME_KEYS if key in row)


def without(symbol: str, decoded: list[Decoded], *, terms: bool = True) -> list[Decoded]:
    """What is said of all the others."""
    return [  # how far back an answer reaches is told by its oldest row, which may be the one
        msgspec.structs.replace(item, unsettled_since=None) if isinstance(item, Terms) else item
        for item in decoded
        if not isinstance(item, Unreadable)
        and (terms or not isinstance(item, Terms))
        and getattr(item, "symbol", "") != symbol
    ]


NAMES = re.compile(
    r'"(?:s|symbol|product_id|instId|contract|contract_code|instrument_name)": ("[^"]*")'
)
DAMAGE = (None, "", "-", "abc", "nan", [], {}, True, -1, 0, 10**30, 10**400, "9" * 400, "\x1b[2J")


def damaged_rows(row: Any) -> list[Any]:
    """The row with each of its values in turn damaged, or left out, and the row itself."""
    damaged: list[Any] = [*DAMAGE]
    for key in row:
        damaged += [{**row, key: value} for value in DAMAGE]
        damaged.append({name: value for name, value in row.items() if name != key})
        if isinstance(row[key], dict):
            damaged += [{**row, key: inner} for inner in damaged_rows(row[key])]
    return damaged


@pytest.mark.parametrize(("venue", "file", "number"), MANY)
def test_a_row_that_cannot_be_read_costs_its_contract_alone(
    venue: str, file: str, number: int
) -> None:
    """Whatever is wrong with it, the others' events are those of the undamaged frame."""
    frame = many(venue, file, number)
    read, rows = reader(venue, file, listing(venue)), rows_in(frame)
    golden = read(json.dumps(frame).encode())
    assert len({getattr(item, "symbol", "") for item in golden}) >= 2
    assert not any(isinstance(item, Unreadable) for item in golden)
    unreadable = 0
    for place, row in enumerate([*rows]):
        symbol = symbol_in(venue, row, place)
        for rows[place] in damaged_rows(row):
            decoded = read(json.dumps(frame).encode())
            lost = [name for item in decoded if isinstance(item, Unreadable) for name in item.rows]
            unreadable += len(lost)
            assert len(lost) <= 1
            assert lost in ([], [symbol]) or f'"{symbol}"' not in NAMES.findall(
                json.dumps(rows[place])
            )
            terms = lost in ([], [symbol])  # else it may have been anybody's settlement
            others = without(symbol, decoded, terms=terms)
            assert others == without(symbol, golden, terms=terms)
            for item in decoded:
                check_invariants(item)
        rows[place] = row
    assert unreadable > 10 * len(rows)


@pytest.mark.parametrize(("venue", "file", "number"), MANY)
def test_a_frame_of_which_most_rows_cannot_be_read_is_unreadable(
    venue: str, file: str, number: int
) -> None:
    frame = many(venue, file, number)
    rows = rows_in(frame)
    half = len(rows) // 2
    rows[:half] = [None] * half
    decoded = reader(venue, file, listing(venue))(json.dumps(frame).encode())
    assert [len(item.rows) for item in decoded if isinstance(item, Unreadable)] == [half]
    rows[: half + 1] = [None] * (half + 1)
    with pytest.raises(Malformed, match=r"\d+ of \d+ rows cannot be read: "):
        reader(venue, file, listing(venue))(json.dumps(frame).encode())


@pytest.mark.parametrize("symbol", ["XYZUSDT", None])
def test_no_interval_is_told_by_a_gap_where_a_settlement_cannot_be_read(symbol: str | None) -> None:
    """A contract of 4 h whose row in the middle is lost was not settled 8 hours ago."""
    hour, first = 3_600_000, 1_795_219_200_000
    rows: list[dict[str, object]] = [
        {"symbol": name, "fundingTime": first + place * 4 * hour, "fundingRate": "0.0001"}
        for name in ("BTCUSDT", "XYZUSDT")
        for place in range(3)
    ]
    rows[4] |= {"symbol": symbol, "fundingRate": []}
    known = {
        name: Instrument(
            venue="binance", symbol=name, asset=name[:3], quote="USDT", funding_hours=4.0
        )
        for name in ("BTCUSDT", "XYZUSDT")
    }
    read = reader("binance", "poll_funding.json", Listing(instruments=known))
    decoded = read(json.dumps(rows).encode())
    terms = [item.symbol for item in decoded if isinstance(item, Terms)]
    rates = {item.symbol: item.hours for item in decoded if isinstance(item, Funding)}
    if symbol is None:  # it may have been anybody's
        assert (terms, rates) == ([], {"BTCUSDT": 4.0, "XYZUSDT": 4.0})
    else:
        assert (terms, rates) == (["BTCUSDT"], {"BTCUSDT": 4.0})


def test_contexts_of_another_dex_cost_the_main_one_nothing() -> None:
    frame = many("hyperliquid", "ws_contexts.jsonl", 0)
    read = reader("hyperliquid", "ws_contexts.jsonl", listing("hyperliquid"))
    golden = read(json.dumps(frame).encode())
    main = frame["data"]["ctxs"][0]
    for other in (None, [None, []], ["xyz", None], {}, []):
        frame["data"]["ctxs"] = [other, main]
        decoded = read(json.dumps(frame).encode())
        lost = [Unreadable(rows=("xyz:",))] if other == ["xyz", None] else []
        assert decoded == golden + lost


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.binary(max_size=60), start=st.sampled_from(FRAMES))
def test_random_bytes_raise_only_what_the_contract_says(
    data: bytes, start: tuple[str, str, bytes]
) -> None:
    venue, file, frame = start
    read = reader(venue, file, listing(venue))
    check_harmless(read, data)
    check_harmless(read, frame[:40] + data)


TOO_DEEP, NO_LIST = "JSON nested too deep to be read", "Expected `array`, got `object`"
CUT = "JSON is malformed: expected ',' or '}' (byte 18)"
NESTED = {
    "kraken-spot": (
        (TOO_DEEP, "nothing is asked for repeatedly", TOO_DEEP),
        (CUT, "nothing is asked for repeatedly", CUT),
    ),
    "okx-spot": (
        ("neither a channel nor an answer", "nothing is asked for repeatedly", TOO_DEEP),
        ("neither a channel nor an answer", "nothing is asked for repeatedly", CUT),
    ),
    "bybit-spot": ((TOO_DEEP,) * 3, (CUT,) * 3),
    "coinbase": (
        (TOO_DEEP, "nothing is asked for repeatedly", TOO_DEEP),
        (CUT, "nothing is asked for repeatedly", CUT),
    ),
    "binance-spot": (
        (TOO_DEEP, "nothing is asked for repeatedly", TOO_DEEP),
        (CUT, "nothing is asked for repeatedly", CUT),
    ),
    "binance": ((TOO_DEEP, NO_LIST, TOO_DEEP), (CUT, NO_LIST, CUT)),
    "bybit": ((TOO_DEEP,) * 3, (CUT,) * 3),
    "hyperliquid": (("no channel", NO_LIST, NO_LIST), ("no channel", NO_LIST, NO_LIST)),
    "okx": (
        ("neither a channel nor an answer", TOO_DEEP, TOO_DEEP),
        ("neither a channel nor an answer", CUT, CUT),
    ),
    "binance-coinm": ((TOO_DEEP, NO_LIST, TOO_DEEP), (CUT, NO_LIST, CUT)),
    "aster": ((TOO_DEEP, NO_LIST, TOO_DEEP), (CUT, NO_LIST, CUT)),
    "bybit-inverse": ((TOO_DEEP,) * 3, (CUT,) * 3),
    "bitget": (
        ("neither a topic nor an answer", TOO_DEEP, TOO_DEEP),
        ("neither a topic nor an answer", CUT, CUT),
    ),
    "gate": ((TOO_DEEP, NO_LIST, NO_LIST), (CUT, NO_LIST, NO_LIST)),
    "deribit": ((TOO_DEEP,) * 3, (CUT,) * 3),
    "htx": ((TOO_DEEP,) * 3, (CUT,) * 3),
    "lighter": (
        (TOO_DEEP, "nothing is asked for repeatedly", TOO_DEEP),
        (CUT, "nothing is asked for repeatedly", CUT),
    ),
    "bitfinex": (
        (TOO_DEEP, NO_LIST, NO_LIST),
        (CUT, NO_LIST, NO_LIST),
    ),
    "kraken": (
        (TOO_DEEP, "nothing is asked for repeatedly", TOO_DEEP),
        (CUT, "nothing is asked for repeatedly", CUT),
    ),
}
"""What is said of a frame, of a poll's answer and of a listing that are lists in lists, or objects
in a text that does not end."""


@pytest.mark.parametrize(
    ("kind", "frame"), list(enumerate([b"[" * 100_000, b'{"e":"trade' + b'{"a":' * 100_000]))
)
@by_venue
def test_deep_nesting_is_malformed(venue: str, kind: int, frame: bytes) -> None:
    deep = b'{"x":' + frame
    module = VENUES[venue]
    poll = Poll(request=Request(path="/"), kind=Kind.FUNDING, every_s=1.0)
    reads = (
        lambda: module.decode(deep, listing(venue), SEEN),
        lambda: module.decode_poll(poll, deep, listing(venue), SEEN),
        lambda: module.instruments([deep] * len(module.listing_requests())),
    )
    for read, sentence in zip(reads, NESTED[venue][kind], strict=True):
        with pytest.raises((Malformed, msgspec.MsgspecError), match=f"^{re.escape(sentence)}$"):
            read()


@of_perpetuals
def test_normalisation_has_a_column_for_the_venue(venue: str) -> None:
    headers = [line for line in NORMALISATION.splitlines() if line.startswith("| field | meaning")]
    with_venues = [line for line in headers if "Binance" in line]
    assert len(with_venues) == 5
    assert all(f"| {VENUES[venue].SPEC.title} |" in line for line in with_venues)


@pytest.mark.parametrize("venue", SPOT)
def test_normalisation_has_a_column_for_the_spot_market(venue: str) -> None:
    (table,) = [
        line for line in NORMALISATION.splitlines() if line.startswith("| spot | meaning |")
    ]
    assert f" {VENUES[venue].SPEC.title} |" in table


@pytest.mark.parametrize("venue", SPOT)
def test_a_spot_market_has_pairs_and_nothing_that_is_of_contracts(venue: str) -> None:
    spec = VENUES[venue].SPEC
    assert spec.kinds <= SPOT_KINDS
    assert spec.open_interest == NO_INTEREST
    assert all(i.spot and not i.inverse and i.contract_size == 1 for i in listed(venue)[0])
    files = [file for of, file in FIXTURES if of == venue and not file.startswith("snapshot_")]
    facts = [
        fact
        for file in files
        for frame in lines(venue, file)
        for fact in reader(venue, file, listing(venue))(frame)
        if isinstance(fact, Price | Volume)
    ]
    assert facts
    assert all(fact.spot for fact in facts)


@of_perpetuals
def test_a_contract_is_no_spot_market(venue: str) -> None:
    assert not any(instrument.spot for instrument in listed(venue)[0])


@pytest.mark.parametrize(
    "event", [Band, Depth, FeedState, Funding, Liquidation, OpenInterest, Price, Tick, Volume]
)
def test_normalisation_names_every_field(event: type[msgspec.Struct]) -> None:
    named = set(re.findall(r"`(\w+)`", NORMALISATION))
    assert {field.encode_name for field in msgspec.structs.fields(event)} <= named


def test_examples_in_normalisation_are_events() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", NORMALISATION, re.DOTALL)
    examples = [decode(line.encode()) for line in block.splitlines()]
    assert {type(example) for example in examples} == {
        Funding,
        OpenInterest,
        Liquidation,
        Depth,
        Price,
        MacroPrice,
        Volume,
        FundingHistory,
        InterestHistory,
        PriceHistory,
        ContextFacts,
        FeedState,
        Fault,
        ClockStep,
        Tick,
    }
    assert [encode(example).decode() for example in examples] == block.splitlines()
