"""Hyperliquid's traps."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from streams.contracts import Contracts, Terms
from streams.durations import HOUR
from streams.events import Funding, Kind, MacroPrice, OpenInterest, Price
from streams.venue import (
    BookUpdate,
    Decoded,
    ListedContracts,
    Listing,
    Malformed,
    Mid,
    Reply,
    Unreadable,
)
from streams.venues import hyperliquid
from tests.streams.venue_cases import SEEN, body, largest, lines, listed, listing

ALL = hyperliquid.SPEC.kinds


def decoded(file: str, place: int = 0) -> list[object]:
    frame = lines("hyperliquid", file)[place]
    return list(hyperliquid.decode(frame, listing("hyperliquid"), SEEN))


def test_contexts_are_joined_by_place_with_delisted_coins_keeping_theirs() -> None:
    assert listing("hyperliquid").order[:4] == ("BTC", "ETH", "OLD", "kPEPE")
    assert list(listing("hyperliquid").instruments)[:3] == ["BTC", "ETH", "kPEPE"]
    marks = {e.symbol: e.mark for e in decoded("ws_contexts.jsonl") if isinstance(e, Price)}
    assert marks == {"BTC": 84_002, "ETH": 2950.5, "kPEPE": pytest.approx(0.0000102)}


def test_another_number_of_contexts_asks_for_a_new_listing() -> None:
    (reply,) = decoded("ws_contexts.jsonl", 1)
    assert isinstance(reply, Reply)
    assert not reply.ok
    assert reply.relist
    frame = lines("hyperliquid", "ws_contexts.jsonl")[0]
    (empty,) = hyperliquid.decode(frame, Listing(instruments={}), SEEN)
    assert isinstance(empty, Reply)
    assert empty.relist


def test_the_listing_refuses_coins_and_contexts_that_do_not_match() -> None:
    meta, contexts = json.loads(body("hyperliquid", "listing_1.json"))
    with pytest.raises(Malformed, match="4 coins but 3 contexts"):
        hyperliquid.instruments([json.dumps([meta, contexts[:3]]).encode()])


# ── the dexes that others build ─────────────────────────────────────────


def frame_of(**dexes: list[dict[str, object]] | None) -> list[Decoded]:
    """The frame with all dexes of the fixture, those given replaced, in the order given.

    None: without this dex. ``main`` is the main one.
    """
    data = json.loads(lines("hyperliquid", "ws_contexts_dexes.jsonl")[0])
    rows = {dex or "main": contexts for dex, contexts in data["data"]["ctxs"]}
    rows = {**dexes, **{dex: contexts for dex, contexts in rows.items() if dex not in dexes}}
    data["data"]["ctxs"] = [
        ["" if dex == "main" else dex, contexts]
        for dex, contexts in rows.items()
        if contexts is not None
    ]
    return hyperliquid.decode(json.dumps(data).encode(), listing("hyperliquid"), SEEN)


def rows_of(dex: str) -> list[dict[str, object]]:
    data = json.loads(lines("hyperliquid", "ws_contexts_dexes.jsonl")[0])
    return dict(data["data"]["ctxs"])[dex]


def macro(decoded: list[Decoded]) -> dict[str, float]:
    """The price of each contract on what is no coin."""
    return {e.symbol: e.mark for e in decoded if isinstance(e, MacroPrice)}


MACRO = {
    "flx:GAS": 3.0487, "xyz:XYZ100": 29996.0, "xyz:SP500": 7542.4, "xyz:GOLD": 4570.0,
    "xyz:JPY": 158.87,
}  # fmt: skip


def test_what_nobody_knows_is_left_out_and_counted() -> None:
    """An unknown share, a coin called like a metal, and bitcoin in a money that is no dollar."""
    _, order, unreadable, unknown = listed("hyperliquid")
    assert unknown == ("xyz:AAPL", "gem:GOLD", "gem:NEWS", "nag:BTC")
    assert unreadable == ()
    known = listing("hyperliquid").instruments
    assert not {*unknown, "hyna:LIGHTER"} & known.keys()
    assert {*unknown, "hyna:LIGHTER"} <= {*order}  # they keep their places


def test_coins_of_other_dexes_join_their_assets_and_the_rest_is_no_coin() -> None:
    known = [i for i in listing("hyperliquid").instruments.values() if ":" in i.symbol]
    coins = {i.symbol: (i.asset, i.multiplier, i.quote) for i in known if not i.macro}
    assert coins == {
        "hyna:BTC": ("BTC", 1, "USDE"),
        "hyna:ETH": ("ETH", 1, "USDE"),
        "hyna:kPEPE": ("PEPE", 1000, "USDE"),
    }
    assert {i.symbol: i.asset for i in known if i.macro} == {
        "xyz:XYZ100": "NASDAQ100", "xyz:SP500": "SP500", "xyz:GOLD": "GOLD", "xyz:JPY": "USDJPY",
        "xyz:DXY": "DXY", "flx:GAS": "NATGAS", "flx:GOLD": "GOLD",
    }  # fmt: skip
    assert {i.funding_hours for i in known} == {1.0}


def test_a_name_of_the_table_is_no_coin_though_the_main_dex_has_that_ticker() -> None:
    """GAS is a coin on the main dex and natural gas on another one, at much the same price."""
    main = json.loads(body("hyperliquid", "listing_1.json"))
    main[0]["universe"][1]["name"] = "GAS"
    bodies = [json.dumps(main).encode(), body("hyperliquid", "listing_2.json")]
    result = {i.symbol: i for i in hyperliquid.instruments(bodies).instruments}
    assert (result["GAS"].asset, result["GAS"].macro) == ("GAS", False)
    assert (result["flx:GAS"].asset, result["flx:GAS"].macro) == (
        "NATGAS",
        True,
    )


def test_dexes_are_joined_by_name_in_whatever_order_they_come() -> None:
    whole = frame_of()
    assert macro(whole) == MACRO
    turned = frame_of(xyz=rows_of("xyz"), nag=rows_of("nag"), hyna=rows_of("hyna"))
    assert sorted(map(repr, turned)) == sorted(map(repr, whole))
    assert macro(frame_of(flx=None)) == {s: x for s, x in MACRO.items() if s != "flx:GAS"}


def test_a_dex_of_another_length_costs_itself_and_asks_for_the_listing() -> None:
    whole, short = frame_of(), frame_of(xyz=rows_of("xyz")[:-1])
    assert macro(short) == {"flx:GAS": 3.0487}
    (reply,) = (item for item in short if isinstance(item, Reply))
    assert (reply.relist, reply.text) == (True, "6 contexts of dex xyz for 7 listed contracts")
    assert [e for e in short if isinstance(e, Price)] == [e for e in whole if isinstance(e, Price)]


def test_a_dex_that_appears_asks_for_the_listing_unless_that_lacks_them_all() -> None:
    (reply,) = (x for x in frame_of(new=rows_of("nag")) if isinstance(x, Reply))
    assert (reply.relist, reply.text) == (True, "1 contexts of dex new for 0 listed contracts")
    assert not any(isinstance(x, Reply) for x in frame_of(empty=[]))
    bare = Listing(
        instruments=listing("hyperliquid").instruments, order=("BTC", "ETH", "OLD", "kPEPE")
    )
    alone = Listing(
        instruments={s: i for s, i in bare.instruments.items() if ":" not in s}, order=bare.order
    )
    frame = lines("hyperliquid", "ws_contexts_dexes.jsonl")[0]
    assert not any(isinstance(x, Reply) for x in hyperliquid.decode(frame, alone, SEEN))
    assert any(isinstance(x, Reply) for x in hyperliquid.decode(frame, bare, SEEN))


def test_while_the_main_dex_is_not_known_nothing_is_told_of_the_others() -> None:
    """Else a feed would be up by what a hundredth of the market says."""
    (reply,) = frame_of(main=rows_of("")[:3])
    assert isinstance(reply, Reply) and reply.relist
    with pytest.raises(Malformed, match="no contexts of the main dex"):
        frame_of(main=None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("midPx", None), ("midPx", "0.0"), ("dayNtlVlm", "0.0"), ("dayNtlVlm", "9999.9"),
     ("dayNtlVlm", None), ("dayNtlVlm", ""), ("markPx", "0.0"), ("markPx", None)],
)  # fmt: skip
def test_what_is_halted_or_abandoned_has_no_price(field: str, value: object) -> None:
    """flx:GOLD of the fixture has stood at 4,210 for months, and flx:BTC at 90,609."""
    rows = rows_of("xyz")
    rows[2][field] = value
    assert macro(frame_of(xyz=rows)) == {s: x for s, x in MACRO.items() if s != "xyz:SP500"}
    rows = rows_of("hyna")
    rows[0][field] = value
    priced = {e.symbol for e in frame_of(hyna=rows) if isinstance(e, Price)}
    assert "hyna:BTC" not in priced and "hyna:kPEPE" in priced


def test_a_deployers_index_is_not_read() -> None:
    """hyna's oracle says 60,000 for BTC, its book 84,010."""
    (btc,) = (e for e in frame_of() if isinstance(e, Price) and e.symbol == "hyna:BTC")
    assert (btc.mark, btc.index) == (84_010.0, None)


def test_of_what_is_no_coin_there_is_nothing_but_a_price() -> None:
    """No open interest, no funding and no volume that could get into a total."""
    kinds = {type(e).__name__ for e in frame_of() if getattr(e, "symbol", "")[:3] in ("xyz", "flx")}
    assert kinds == {"MacroPrice"}
    gold = next(e for e in frame_of() if isinstance(e, MacroPrice) and e.asset == "GOLD")
    assert (gold.symbol, gold.mark, gold.day_ago, gold.usd_24h) == ("xyz:GOLD", 4570, 4530, 9e7)


@pytest.mark.parametrize("day_ago", [None, "", "0.0", "nan"])
def test_a_day_ago_that_is_none_is_unknown(day_ago: object) -> None:
    rows = rows_of("xyz")
    rows[4]["prevDayPx"] = day_ago
    gold = next(e for e in frame_of(xyz=rows) if isinstance(e, MacroPrice) and e.asset == "GOLD")
    assert (gold.mark, gold.day_ago) == (4570, None)


@pytest.mark.parametrize("junk", [[], {}, "abc", True])
def test_a_context_that_cannot_be_read_costs_its_contract_and_a_dex_itself(junk: object) -> None:
    rows = rows_of("xyz")
    rows[2]["midPx"] = junk
    spoiled = frame_of(xyz=rows)
    assert macro(spoiled) == {s: x for s, x in MACRO.items() if s != "xyz:SP500"}
    assert Unreadable(rows=("xyz:SP500",)) in spoiled
    whole = frame_of(xyz=[{"midPx": junk}] * 7)
    assert macro(whole) == {"flx:GAS": 3.0487}
    assert Unreadable(rows=("xyz:",)) in whole


def spoiled_listing(spoil: Callable[[list[Any]], None]) -> ListedContracts:
    dexes = json.loads(body("hyperliquid", "listing_2.json"))
    spoil(dexes)
    main = body("hyperliquid", "listing_1.json")
    return hyperliquid.instruments([main, json.dumps(dexes).encode()])


def test_a_listing_of_other_dexes_that_cannot_be_read_costs_the_main_one_nothing() -> None:
    main = body("hyperliquid", "listing_1.json")
    alone = hyperliquid.instruments([main])
    assert hyperliquid.instruments([main, b""]) == alone
    for rubbish in (b"null", b"{}", b'{"code":1}', b"[", b"\xff"):
        others = hyperliquid.instruments([main, rubbish])
        assert others == alone._replace(unreadable=("other dexes",))
    assert spoiled_listing(lambda dexes: dexes.clear()) == alone
    without = spoiled_listing(lambda dexes: dexes.__setitem__(2, {"universe": 5}))
    assert without.unreadable == ("a dex",)
    assert "hyna:BTC" in without.order and "xyz:GOLD" not in without.order


def test_a_row_of_another_dex_that_cannot_be_read_keeps_its_place() -> None:
    def spoil(dexes: list[Any]) -> None:
        dexes[2]["universe"][0]["name"] = None
        dexes[4]["universe"][1]["name"] = "zyx:ETH"  # of a dex that it is not in

    result = spoiled_listing(spoil)
    assert len(result.unreadable) == 1
    assert result.order[4:7] == ("xyz:", "xyz:AAPL", "xyz:SP500")
    assert result.order[14:17] == ("hyna:BTC", "hyna:", "hyna:kPEPE")
    known = Listing(
        instruments={i.symbol: i for i in result.instruments},
        order=result.order,
    )
    frame = lines("hyperliquid", "ws_contexts_dexes.jsonl")[0]
    priced = macro(hyperliquid.decode(frame, known, SEEN))
    assert priced == {s: x for s, x in MACRO.items() if s != "xyz:XYZ100"}


def test_mids_name_their_contracts_and_prices_are_checked_against_them() -> None:
    """Two rows of a dex change places at equal length: gold is not 7,542."""
    known = listing("hyperliquid")
    contracts = Contracts()
    for mid in hyperliquid.decode(lines("hyperliquid", "ws_mids.jsonl")[0], known, SEEN):
        assert isinstance(mid, Mid)
        contracts.take_mid(mid.symbol, mid.price, SEEN)
    rows = rows_of("xyz")
    assert contracts.misplaced(frame_of()) == {}
    rows[2], rows[4] = rows[4], rows[2]
    assert [*contracts.misplaced(frame_of(xyz=rows))] == ["xyz:SP500", "xyz:GOLD"]


def test_a_mid_that_cannot_be_read_costs_its_contract() -> None:
    data = json.loads(lines("hyperliquid", "ws_mids.jsonl")[0])
    data["data"]["mids"]["xyz:GOLD"] = []
    data["data"]["mids"]["BTC"] = "84000.5"  # the main dex's books are listened to
    decoded = hyperliquid.decode(json.dumps(data).encode(), listing("hyperliquid"), SEEN)
    assert decoded[-1] == Unreadable(rows=("xyz:GOLD",))
    assert [m.symbol for m in decoded[:-1] if isinstance(m, Mid)] == ["xyz:XYZ100", "xyz:SP500"]


def test_other_dexes_have_no_books_and_a_socket_for_mids_of_their_own() -> None:
    known = list(listing("hyperliquid").instruments.values())
    contexts, mids, books = hyperliquid.subscriptions(known, ALL)
    assert (contexts.name, mids.name, books.name) == ("contexts", "mids", "book-1")
    asked = [json.loads(message)["subscription"] for message in mids.messages]
    assert asked == [{"type": "allMids", "dex": dex} for dex in ("flx", "hyna", "xyz")]
    assert (mids.kinds, mids.silence_s) == (frozenset(), {})
    assert books.symbols == ("BTC", "ETH", "kPEPE")
    assert hyperliquid.resubscribe((), mids) == ()
    many = [*largest("hyperliquid", count=1500), *known]
    sockets = hyperliquid.subscriptions(many, ALL)
    assert len(sockets) == 9  # and one more may be open in the place of another
    asked = [len(socket.messages) for socket in sockets]
    assert 990 <= sum(asked) + max(asked) <= 1000


def test_settlements_are_asked_for_of_coins_alone() -> None:
    polls = hyperliquid.polls(list(listing("hyperliquid").instruments.values()), ALL)
    asked = [poll.request.symbol for poll in polls]
    assert asked == ["BTC", "ETH", "kPEPE", "hyna:BTC", "hyna:ETH", "hyna:kPEPE"]


def test_the_rate_is_per_hour_and_paid_at_the_next_full_hour() -> None:
    funding = next(e for e in decoded("ws_contexts.jsonl") if isinstance(e, Funding))
    assert (funding.rate, funding.hours, funding.settled) == (0.0000125, 1, False)
    assert funding.next_at is not None
    assert funding.next_at % HOUR == 0
    assert SEEN < funding.next_at <= SEEN + HOUR
    frame = lines("hyperliquid", "ws_context.jsonl")[0]
    events = hyperliquid.decode(frame, listing("hyperliquid"), 5 * 10**5 * HOUR)
    at_the_hour = next(e for e in events if isinstance(e, Funding))
    assert at_the_hour.next_at == (5 * 10**5 + 1) * HOUR


def test_thousands_are_published_per_coin() -> None:
    pepe = listing("hyperliquid").instruments["kPEPE"]
    assert (pepe.asset, pepe.multiplier, pepe.quote) == ("PEPE", 1000, "USDC")
    interest = next(
        e for e in decoded("ws_contexts.jsonl") if isinstance(e, OpenInterest) and e.asset == "PEPE"
    )
    assert interest.base == 1e12
    assert interest.usd == pytest.approx(10_200_000)


def test_a_coin_of_two_names_is_one_asset() -> None:
    """The main dex lists MATIC as delisted for ever, beside POL; another one may still trade it."""
    names = [{"name": "POL"}, {"name": "MATIC", "isDelisted": True}, {"name": "RENDER"}]
    main = json.dumps([{"universe": names}, [{}] * 3]).encode()
    other = {"universe": [{"name": "old:MATIC"}, {"name": "old:RNDR"}], "collateralToken": 0}
    result = hyperliquid.instruments([main, json.dumps([other]).encode()])
    assert [(i.symbol, i.asset, i.ends_at) for i in result.instruments] == [
        ("POL", "POL", None), ("MATIC", "POL", 0), ("RENDER", "RENDER", None),
        ("old:MATIC", "POL", None), ("old:RNDR", "RENDER", None),
    ]  # fmt: skip
    assert result.unknown == ()


@pytest.mark.parametrize(
    ("name", "asset"), [("kPEPE", "PEPE"), ("kaito", "kaito"), ("KAITO", "KAITO"), ("k", "k")]
)
def test_only_a_small_k_before_a_capital_is_a_thousand(name: str, asset: str) -> None:
    listing_body = json.dumps([{"universe": [{"name": name}]}, [{}]]).encode()
    ((contract,), *_) = hyperliquid.instruments([listing_body])
    assert contract.asset == asset
    assert contract.open_interest_usd is None


def test_books_are_snapshots_of_buckets() -> None:
    (btc,), (pepe,), (empty,) = (decoded("ws_book.jsonl", place) for place in range(3))
    assert isinstance(btc, BookUpdate)
    assert isinstance(pepe, BookUpdate)
    assert isinstance(empty, BookUpdate)
    assert (btc.snapshot, btc.reach, btc.rolling, btc.step) == (True, 20, True, 10.0)
    assert (btc.first, btc.last, btc.previous) == (0, 0, None)
    assert pepe.step == pytest.approx(1e-5 / 1000)
    assert pepe.bids == [(pytest.approx(0.00001019), 2e9)]
    assert (empty.bids, empty.asks, empty.step) == ([], [], 0.0)


@pytest.mark.parametrize(
    ("bid", "ask", "step"),
    [("999.9", "1000", 1.0), ("999.8", "999.9", 0.1), ("1.0", "1.001", 0.001), ("9", "10", 0.01)],
)
def test_the_bucket_is_the_wider_one_across_a_power_of_ten(bid: str, ask: str, step: float) -> None:
    frame = {
        "channel": "l2Book",
        "data": {
            "coin": "ETH",
            "time": SEEN,
            "levels": [[{"px": bid, "sz": "1"}], [{"px": ask, "sz": "1"}]],
        },
    }
    (book,) = hyperliquid.decode(msgspec.json.encode(frame), listing("hyperliquid"), SEEN)
    assert isinstance(book, BookUpdate)
    assert book.step == pytest.approx(step)


def test_resync_needs_nothing_and_a_second_subscription_is_no_refusal() -> None:
    socket = hyperliquid.subscriptions(largest("hyperliquid"), frozenset((Kind.DEPTH,)))[0]
    assert hyperliquid.resync("BTC0USDT", socket) == ()
    ack, pong, again, refused = (decoded("ws_reply.jsonl", place)[0] for place in range(4))
    assert all(isinstance(reply, Reply) and reply.ok for reply in (ack, pong, again))
    assert isinstance(refused, Reply)
    assert not refused.ok
    assert refused.symbols == ("NOSUCH",)


def test_there_is_no_liquidation_feed() -> None:
    assert Kind.LIQUIDATION not in hyperliquid.SPEC.kinds
    assert hyperliquid.subscriptions(largest("hyperliquid"), frozenset((Kind.LIQUIDATION,))) == []


@pytest.mark.parametrize("count", [230, 600, 1500])
def test_books_stay_within_connections_and_subscriptions(count: int) -> None:
    sockets = hyperliquid.subscriptions(largest("hyperliquid", count=count), ALL)
    messages = [json.loads(message) for socket in sockets for message in socket.messages]
    assert len(sockets) <= 9
    largest_socket = max(len(socket.messages) for socket in sockets)
    assert len(messages) + largest_socket <= 1000
    assert len(messages) == min(count + 1, 1000 - largest_socket)
    assert messages[0]["subscription"] == {"type": "allDexsAssetCtxs"}
    assert messages[1]["subscription"] == {"type": "l2Book", "coin": "BTC0USDT", "nSigFigs": 4}
    assert all(socket.silence_s[Kind.DEPTH] >= 20 for socket in sockets[1:])


def test_settlements_are_asked_for_coin_by_coin_from_an_hour_ago() -> None:
    polls = hyperliquid.polls(list(listing("hyperliquid").instruments.values()), ALL)
    request = polls[2].request
    assert (polls[0].offset_s, request.weight, request.symbol) == (20.0, 20, "kPEPE")
    assert request.body is not None
    asked = json.loads(request.body.replace(b"{hour_ago}", b"1795258800000"))
    assert asked == {"type": "fundingHistory", "coin": "kPEPE", "startTime": 1795258800000}
    newest, none = lines("hyperliquid", "poll_funding.jsonl")
    terms, event = hyperliquid.decode_poll(polls[0], newest, listing("hyperliquid"), SEEN)
    assert terms == Terms(symbol="BTC", settled_before=1_795_258_800_077 - HOUR)
    assert isinstance(event, Funding)
    assert (event.rate, event.hours, event.settled) == (0.0000101, 1, True)
    assert event.at == 1_795_258_800_077
    assert hyperliquid.decode_poll(polls[0], none, listing("hyperliquid"), SEEN) == []


def test_contexts_by_rest_are_joined_with_the_names_beside_them() -> None:
    """So a place that changed on the websocket shows: the first coin here is the second there."""
    known = listing("hyperliquid")
    first, second = (i for i in known.instruments.values() if i.symbol in ("BTC", "ETH"))
    request = hyperliquid.checks([first])[0]
    universe = [{"name": second.symbol}, {"name": "NEW"}, {"name": first.symbol}]
    contexts = [{"markPx": str(price), "midPx": None} for price in (2_950, 7, 84_000)]
    answer = json.dumps([{"universe": universe}, contexts]).encode()
    facts = hyperliquid.decode_check(request, answer, known, SEEN)
    marks = {fact.symbol: fact.mark for fact in facts if isinstance(fact, Price)}
    assert marks == {"ETH": 2_950, "BTC": 84_000}
    with pytest.raises(Malformed, match="3 coins but 2 contexts"):
        hyperliquid.decode_check(
            request, json.dumps([{"universe": universe}, contexts[:2]]).encode(), known, SEEN
        )
