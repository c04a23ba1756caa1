"""Sessions of the real adapters: tables of calls and moments against what they want done."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import Depth, Event, FeedState, Funding, Kind, Liquidation, OpenInterest, Price
from streams.feed.actions import Action, Note, Relist, Send
from streams.feed.liquidations import RecentLiquidations
from streams.venue import Unreadable
from streams.venues import VENUES
from tests.streams import frames
from tests.streams.played import Played, depths, fetches, hangups, notes, reasons, sent, turns

NARROW = (((99.99, 5.0),), ((100.01, 5.0),))


# ── opening, pinging, going up and down ─────────────────────────────────


def test_nothing_is_said_or_done_before_the_socket_is_open() -> None:
    played = Played("bybit", "market-1", "BTC")
    assert played.tick(90) == []
    assert played.hear(frames.ticker("BTCUSDT")) == []
    assert fetches(played.fetch("BTCUSDT", frames.snapshot(1))) == []
    assert not played.session.connected
    assert [state.reason for state in played.session.states(0)] == ["not connected yet"] * 5


def test_an_open_socket_subscribes_and_is_not_up_yet() -> None:
    played = Played("bybit", "market-1", "BTC", "ETH")
    assert played.open() == [Send(message) for message in played.plan.messages]
    assert sent(played.done) == [
        {
            "op": "subscribe",
            "args": [
                "tickers.BTCUSDT",
                "allLiquidation.BTCUSDT",
                "tickers.ETHUSDT",
                "allLiquidation.ETHUSDT",
            ],
        }
    ]
    assert played.session.connected
    assert not played.session.ready
    assert played.hear(frames.bybit_says("subscribe")) == []
    assert {(s.up, s.reason) for s in played.session.states(0)} == {(False, "no data yet")}


@pytest.mark.parametrize(
    ("venue", "socket", "ping"),
    [
        ("bybit", "market-1", {"op": "ping"}),
        ("hyperliquid", "contexts", {"method": "ping"}),
        ("okx", "price-1", b"ping"),
        ("gate", "ticker-1", {"time": 123456, "channel": "futures.ping"}),
        (
            "deribit",
            "ticker-1",
            {"jsonrpc": "2.0", "id": 3, "method": "public/test", "params": {}},
        ),
        ("bitget", "book-1", b"ping"),
        ("binance", "market", None),  # the library's own ping frames are enough
    ],
)
def test_pings_go_out_every_twenty_seconds(
    venue: str, socket: str, ping: dict | bytes | None
) -> None:
    played = Played(venue, socket, "BTC")
    keep = {
        "bybit": [frames.ticker("BTCUSDT")],
        "hyperliquid": [frames.contexts(1)],
        "okx": [frames.okx_price("BTC-USDT-SWAP")],
        "gate": [frames.gate_ticker("BTC_USDT")],
        "deribit": [frames.deribit_ticker("BTC_USDC-PERPETUAL")],
        "bitget": [frames.bitget_book("BTCUSDT", 1)],
        "binance": [frames.marks("BTCUSDT"), frames.minis("BTCUSDT")],
    }[venue]
    played.open()
    when = [second for second in range(1, 66) if sent(played.tick(1, *keep)) == [ping]]
    assert when == ([20, 40, 60] if ping else [])
    played.close()
    played.open()
    assert sent(played.tick(19, *keep)) == []
    assert sent(played.tick(1, *keep)) == ([ping] if ping else [])


def test_binance_feeds_of_all_symbols_go_up_with_data_and_liquidations_with_them() -> None:
    played = Played("binance", "market", "BTC", "ETH")
    played.open()
    actions = played.hear(frames.marks("BTCUSDT", "NOTOURSUSDT"))
    assert turns(actions) == ["+funding *", "+liquidation *", "+price *"]
    assert isinstance(actions[0], FeedState)  # said before its data
    assert turns(played.hear(frames.marks("ETHUSDT"))) == []
    assert turns(played.hear(frames.minis("BTCUSDT"))) == ["+volume *"]
    assert played.session.ready
    assert turns(played.close()) == ["-funding *", "-liquidation *", "-price *", "-volume *"]
    assert set(reasons(played.done[-4:])) == {"the connection broke"}
    assert {s.reason for s in played.session.states(0)} == {"the connection broke"}
    played.open()
    assert turns(played.hear(frames.forced("BTCUSDT"))) == ["+liquidation *"]
    assert turns(played.hear(frames.minis("BTCUSDT"))) == ["+volume *"]


def test_bybit_feeds_go_up_symbol_by_symbol() -> None:
    played = Played("bybit", "market-1", "BTC", "ETH")
    played.open()
    assert turns(played.hear(frames.ticker("BTCUSDT"))) == [
        "+funding BTCUSDT",
        "+liquidation BTCUSDT",
        "+open_interest BTCUSDT",
        "+price BTCUSDT",
        "+volume BTCUSDT",
    ]
    assert not played.session.ready
    played.hear(frames.ticker("ETHUSDT"))
    assert played.session.ready
    up = {(s.symbol, s.kind) for s in played.session.states(7) if s.up and s.seen == 7}
    assert len(up) == 10
    assert len(turns(played.close())) == 10
    assert turns(played.close("again")) == []


def test_a_delta_brings_up_only_what_it_tells() -> None:
    played = Played("bybit", "market-1", "BTC")
    played.open()
    empty = dict.fromkeys(
        (
            "indexPrice",
            "fundingRate",
            "singleOpenInterest",
            "singleOpenInterestValue",
            "turnover24h",
        ),
        "",
    )
    assert turns(played.hear(frames.ticker("BTCUSDT", **empty))) == [
        "+liquidation BTCUSDT",
        "+price BTCUSDT",
    ]


def test_facts_that_do_not_change_are_said_again_once_a_minute_while_the_symbol_lives() -> None:
    """Bybit's deltas leave out what is unchanged: a quiet market's open interest stays known."""
    played = Played("bybit", "market-1", "BTC")
    played.open()
    played.hear(frames.ticker("BTCUSDT"))
    alone = {"singleOpenInterest": "", "singleOpenInterestValue": "", "fundingRate": ""}
    price = frames.ticker("BTCUSDT", **alone, turnover24h="")
    facts = [a for a in played.tick(130, price) if isinstance(a, OpenInterest | Funding)]
    assert sorted(type(a).__name__ for a in facts) == ["Funding"] * 2 + ["OpenInterest"] * 2
    first = next(a for a in facts if isinstance(a, OpenInterest))
    assert first.at == frames.EPOCH
    assert first.seen - frames.EPOCH >= 60_000
    quiet = [a for a in played.tick(29) if isinstance(a, OpenInterest | Funding)]
    assert quiet == []


def test_a_symbol_that_fell_silent_has_nothing_said_again() -> None:
    played = Played("bybit", "market-1", "BTC", "ETH")
    played.open()
    played.hear(frames.ticker("BTCUSDT"), frames.ticker("ETHUSDT"))
    price = frames.ticker("ETHUSDT")
    facts = [a for a in played.tick(200, price) if isinstance(a, OpenInterest)]
    assert {a.symbol for a in facts} == {"ETHUSDT"}


# ── silence ─────────────────────────────────────────────────────────────


def test_silence_is_judged_kind_by_kind_and_said_in_words() -> None:
    played = Played("binance", "market", "BTC")
    played.open()
    marks, minis = frames.marks("BTCUSDT"), frames.minis("BTCUSDT")
    assert hangups(played.tick(30)) == []  # the handshake's patience
    assert hangups(played.tick(1)) == ["no funding data for 31 s"]
    played.close()
    played.open()
    assert hangups(played.tick(100, marks, minis)) == []
    assert hangups(played.tick(30, marks)) == []
    assert hangups(played.tick(1, marks)) == ["no volume data for 31 s"]
    played.close()
    played.open()
    played.hear(marks)
    assert hangups(played.tick(10, minis)) == []
    assert hangups(played.tick(1, minis))[0].startswith("no ")
    assert "for 11 s" in hangups(played.done)[-1]


def test_liquidations_are_never_judged_by_their_own_silence() -> None:
    played = Played("bybit", "market-1", "BTC")
    played.open()
    assert hangups(played.tick(3_000, frames.ticker("BTCUSDT"))) == []
    assert "+liquidation BTCUSDT" in turns(played.done)
    assert "-liquidation BTCUSDT" not in turns(played.done)
    # and their data alone does not hide that the rest is silent
    assert hangups(played.tick(31, frames.liquidated("BTCUSDT", 1.0))) == ["no price data for 31 s"]


def test_rubbish_and_replies_are_no_data() -> None:
    played = Played("hyperliquid", "contexts", "BTC")
    played.open()
    rubbish = [b"{", b'{"channel":"pong"}', frames.coin_error("Already subscribed: x")]
    assert hangups(played.tick(46, *rubbish)) != []


# ── backoff ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.5), (0.999999, 1.0), (0.5, 0.75)])
def test_backoff_doubles_up_to_a_minute(jitter: float, share: float) -> None:
    played = Played("binance", "market", "BTC", jitter=jitter)
    waits = []
    for _ in range(9):
        played.close("the connection was refused")
        waits.append(played.wait)
    whole = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert waits == [pytest.approx(1000 * share * s, abs=1) for s in whole]
    for _ in range(2_000):
        played.session.closed("again", 0)
    played.close()
    assert played.wait == pytest.approx(60_000 * share, abs=1)


def test_backoff_ends_with_data_that_keeps_coming_not_with_the_handshake() -> None:
    played = Played("binance", "market", "BTC", jitter=0.999999)
    marks = frames.marks("BTCUSDT")
    waits = []
    for seconds, keep in ((0, []), (20, []), (3, [marks]), (20, [frames.done()]), (11, [marks])):
        played.open()
        played.tick(seconds, *keep)
        played.close()
        waits.append(round(played.wait / 1000))
    assert waits == [1, 2, 4, 8, 1]


# ── rubbish ─────────────────────────────────────────────────────────────

DEEP = b"[" * 100_000
RUBBISH = {
    "truncated": frames.marks("BTCUSDT")[:-20],
    "binary": bytes(range(256)),
    "not UTF-8": b'{"e":"markPriceUpdate","s":"\xff\xfe"}',
    "not JSON": b"<html>Bad Gateway</html>",
    "empty": b"",
    "null": b"null",
    "wrong types": b'{"e":"depthUpdate","E":"x","s":5,"U":[],"u":{},"pu":1,"b":7,"a":"no"}',
    "infinite": b'{"e":"depthUpdate","E":1e999,"s":"BTCUSDT","U":1,"u":1,"pu":1,"b":[],"a":[]}',
    "unknown event": b'{"e":"somethingNew"}',
    "unknown topic": b'{"topic":"newThing.BTCUSDT"}',
    "unknown channel": b'{"channel":"newThing"}',
    "deep": DEEP,
    "deep Binance": b'{"e":"markPriceUpdate","x":' + DEEP,
    "deep closed": b'{"data":' + b"[" * 5_000 + b"]" * 5_000 + b',"e":"depthUpdate"}',
    "deep Bybit": b'{"topic":"tickers.BTCUSDT","data":' + DEEP,
    "deep Bybit answer": b'{"op":' + b'{"a":' * 100_000,
    "deep Hyperliquid": b'{"channel":"allDexsAssetCtxs","data":' + DEEP,
    "deep OKX": b'{"arg":{"channel":"mark-price"},"data":' + DEEP,
    "deep OKX answer": b'{"event":"error","arg":' + DEEP,
    "deep Gate": b'{"channel":"futures.tickers","result":' + DEEP,
    "deep Bitget": b'{"arg":{"topic":"liquidation"},"data":' + DEEP,
}
SOCKETS = (("binance", "market"), ("binance", "book-1"), ("bybit", "market-1"), ("bybit", "book-1"),
           ("hyperliquid", "contexts"), ("hyperliquid", "book-1"), ("okx", "market"),
           ("okx", "price-1"), ("okx", "book-1"), ("bitget", "market"),
           ("bitget", "book-1"), ("binance-coinm", "market"), ("binance-coinm", "book-1"),
           ("aster", "market"), ("aster", "book-1"),
           ("bybit-inverse", "market-1"), ("bybit-inverse", "book-1"), ("gate", "market"),
           ("gate", "ticker-1"), ("gate", "book-1"), ("deribit", "market"),
           ("deribit", "ticker-1"), ("deribit", "book-1"), ("kraken", "market-1"),
           ("kraken", "book-1"), ("htx", "market"), ("htx", "price-1"),
           ("htx", "book-1"), ("bitfinex", "liquidations"), ("bitfinex", "status-1"),
           ("bitfinex", "book-1"), ("lighter", "market"), ("lighter", "trade-1"),
           ("lighter", "book-1"))  # fmt: skip


@pytest.mark.parametrize(("venue", "socket"), SOCKETS)
def test_rubbish_is_counted_noted_once_and_never_raised(venue: str, socket: str) -> None:
    played = Played(venue, socket, "BTC")
    played.open()
    for _ in range(2):
        played.hear(*RUBBISH.values())
    assert played.session.stats.dropped == played.session.stats.frames == 2 * len(RUBBISH)
    assert notes(played.done) == ["frame dropped"]
    detail = next(action.detail for action in played.done if isinstance(action, Note))
    assert len(detail) <= 200
    assert turns(played.done) == []
    for body in RUBBISH.values():
        played.fetch("BTCUSDT", body)
    assert notes(played.done)[1:] == ["snapshot dropped"]


# ── refusals ────────────────────────────────────────────────────────────


def test_one_bad_topic_of_bybit_costs_itself_and_the_others_are_asked_for_singly() -> None:
    played = Played("bybit", "market-1", "BTC", "XYZ", "ETH", "QQQ")
    played.open()
    no_xyz = frames.bybit_says("error:handler not found,topic:allLiquidation.XYZUSDT", False)
    no_qqq = frames.bybit_says("error:handler not found,topic:tickers.QQQUSDT", False)
    actions = played.hear(no_xyz)
    assert notes(actions) == ["request refused"]
    assert [message["args"] for message in sent(actions)] == [
        [f"tickers.{symbol}", f"allLiquidation.{symbol}"]
        for symbol in ("BTCUSDT", "ETHUSDT", "QQQUSDT")
    ]
    assert played.hear(no_qqq) == []  # it was asked for alone: nobody else is concerned
    already = frames.bybit_says("error:already subscribed,topic:tickers.BTCUSDT", False)
    assert played.hear(already) == []
    played.hear(frames.ticker("BTCUSDT"), frames.ticker("ETHUSDT"))
    assert played.session.ready
    assert {state.symbol for state in played.session.states(0)} == {"BTCUSDT", "ETHUSDT"}
    assert played.session.stats.refused == 2
    played.close()
    assert len(sent(played.open())) == 1  # on the next connection all is tried again
    assert len(sent(played.hear(no_xyz))) == 3


def test_a_refusal_that_names_nothing_has_all_asked_for_singly_once() -> None:
    played = Played("bybit", "book-1", "BTC", "ETH")
    played.open()
    refused = frames.bybit_says("error:args size > 10", False)
    assert [message["args"] for message in sent(played.hear(refused))] == [
        ["orderbook.1000.BTCUSDT"],
        ["orderbook.1000.ETHUSDT"],
    ]
    assert played.hear(refused, refused) == []


def test_refusing_the_only_symbol_leaves_a_silent_socket_not_one_for_all_symbols() -> None:
    played = Played("bybit", "market-1", "XYZ")
    played.open()
    played.hear(frames.bybit_says("error:handler not found,topic:tickers.XYZUSDT", False))
    assert played.session.states(0) == []
    assert hangups(played.tick(31)) == ["no price data for 31 s"]


def test_a_symbol_that_is_refused_before_it_came_is_said_to_be_missing_with_the_reason() -> None:
    played = Played("bybit", "market-1", "BTC", "XYZ")
    played.open()
    text = "error:handler not found,topic:tickers.XYZUSDT"
    played.hear(frames.bybit_says(text, False), frames.ticker("BTCUSDT"))
    assert played.session.missing(played.now, played.seen) == []
    missing = played.session.missing(played.now + 60_000, played.seen + 60_000)
    assert {(state.symbol, state.asset, state.up) for state in missing} == {
        ("XYZUSDT", "XYZ", False)
    }
    assert {state.reason for state in missing} == {f"refused: {text}"}
    assert {state.kind for state in missing} == played.session.subscription.kinds
    assert played.session.missing(played.now + 90_000, played.seen + 90_000) == []


def test_a_book_refused_while_it_was_up_goes_down_first() -> None:
    played = Played("bybit", "book-1", "BTC", "ETH")
    played.open()
    played.hear(frames.bybit_book("BTCUSDT", 5), frames.bybit_book("ETHUSDT", 8))
    played.tick()
    text = "error:handler not found,topic:orderbook.1000.ETHUSDT"
    actions = played.hear(frames.bybit_says(text, False))
    assert turns(actions) == ["-depth ETHUSDT"]
    assert reasons(actions) == [f"refused: {text}"]
    played.hear(frames.bybit_book("ETHUSDT", 9, *NARROW, delta=True))
    assert depths(played.tick()) == ["BTCUSDT"]
    assert turns(played.close()) == ["-depth BTCUSDT"]


def test_hyperliquid_refuses_one_coin() -> None:
    played = Played("hyperliquid", "book-1", "BTC", "NOSUCH")
    played.open()
    error = frames.coin_error('Invalid subscription {"type":"l2Book","coin":"NOSUCH"}')
    again = [message["subscription"]["coin"] for message in sent(played.hear(error))]
    assert again == ["BTC"]
    assert (
        played.hear(frames.coin_error('Already subscribed: {"type":"l2Book","coin":"BTC"}')) == []
    )
    assert turns(played.tick(2, frames.coin_book("BTC"))) == ["+depth BTC"]
    assert played.session.ready


def test_a_socket_that_is_closed_again_and_again_asks_for_the_listing() -> None:
    # an unknown coin in a subscription closes Hyperliquid's socket without an error
    played = Played("hyperliquid", "book-1", "BTC", "GONE")
    relists = []
    for _ in range(5):
        played.open()
        played.hear(frames.coin_book("BTC"))
        relists.append(Relist() in played.close("it closed the connection with code 1006"))
    assert relists == [False, False, True, True, True]
    # one that was never open says nothing of the listing
    assert Relist() not in played.close("refused")


@pytest.mark.parametrize(
    "prices", [(100_000.0, 4_000.0, 200.0), (30.0, 0.00027, 0.03), (2.0, 1.0, 0.1)]
)
def test_hyperliquid_coins_that_changed_places_are_not_believed(prices: tuple[float, ...]) -> None:
    played = Played("hyperliquid", "contexts", "BTC", "ETH", "SOL")
    played.open()
    books = Played("hyperliquid", "book-1", "BTC", "ETH", "SOL")
    books.session.listing = played.session.listing  # the consumer gives all sockets the same
    books.open()
    for coin, px in zip(("BTC", "ETH", "SOL"), prices, strict=True):
        books.hear(frames.coin_book(coin, [(px * 0.999, 1.0)], [(px * 1.001, 1.0)]))

    def heard(*marks: float) -> list[tuple[str, float | None]]:
        actions = played.hear(frames.contexts_at(*marks))
        assert {e.symbol for e in actions if isinstance(e, Funding | OpenInterest)} == {
            e.symbol for e in actions if isinstance(e, Price)
        }
        return [(e.symbol, e.mark) for e in actions if isinstance(e, Price)]

    btc, eth, sol = prices
    assert heard(btc, eth, sol) == [("BTC", btc), ("ETH", eth), ("SOL", sol)]
    played.tick()
    assert heard(eth, btc, sol) == [("SOL", sol)]
    assert Relist() in played.done
    # a fall by a quarter in which book and mark go apart is no other coin
    played.tick()
    assert heard(btc * 0.75, eth * 0.75, sol * 0.75) != []
    assert len(heard(btc * 0.75, eth * 0.75, sol * 0.75)) == 3


def test_hyperliquid_coins_of_like_prices_that_changed_places_are_not_believed() -> None:
    """XRP at 2.1 and SUI at 1.6: no more apart than a coin in a crash and its book may be."""
    played = Played("hyperliquid", "contexts", "XRP", "SUI", "SOL")
    played.open()
    books = Played("hyperliquid", "book-1", "XRP", "SUI", "SOL")
    books.session.listing = played.session.listing
    books.open()

    def book(**mids: float) -> None:
        for coin, px in mids.items():
            books.hear(frames.coin_book(coin, [(px * 0.999, 1.0)], [(px * 1.001, 1.0)]))

    def heard(*marks: float) -> list[str]:
        actions = played.hear(frames.contexts_at(*marks))
        return [e.symbol for e in actions if isinstance(e, Price)]

    book(XRP=2.1, SUI=1.6, SOL=150)
    assert heard(2.1, 1.6, 150) == ["XRP", "SUI", "SOL"]
    played.tick()
    assert heard(1.6, 2.1, 150) == ["SOL"]
    played.tick()
    # a fall of 15 % that the books have not followed yet, and one that they have
    assert heard(2.1 * 0.85, 1.6 * 0.85, 150 * 0.85) == ["XRP", "SUI", "SOL"]
    book(XRP=1.6, SUI=1.2, SOL=120)
    assert heard(1.61, 1.21, 121) == ["XRP", "SUI", "SOL"]
    # three of like prices, each in the next one's place
    book(XRP=2.1, SUI=1.9, SOL=1.7)
    assert heard(1.9, 1.7, 2.1) == []
    assert heard(1.7, 2.1, 1.9) == []


@pytest.mark.parametrize("times", [0.93, 0.8, 0.7, 1.08, 1.4])
@pytest.mark.parametrize("alone", [True, False], ids=["one coin", "all"])
def test_a_coin_that_comes_to_be_where_the_book_of_another_is_is_believed(
    times: float, alone: bool
) -> None:
    """A crash before the next book: of many coins one happens to be at the price of another."""
    marks = {"AAA": 1.0, "BBB": times, "CCC": times * times, "DDD": 40.0}
    played = Played("hyperliquid", "contexts", *marks)
    played.open()
    books = Played("hyperliquid", "book-1", *marks)
    books.session.listing = played.session.listing
    books.open()
    for coin, px in marks.items():
        books.hear(frames.coin_book(coin, [(px * 0.999, 1.0)], [(px * 1.001, 1.0)]))
    then = [px * times if coin == "AAA" or not alone else px for coin, px in marks.items()]
    actions = played.hear(frames.contexts_at(*then))
    assert [e.mark for e in actions if isinstance(e, Price)] == then
    assert Relist() not in actions


def test_hyperliquid_contexts_of_another_length_call_for_the_listing() -> None:
    played = Played("hyperliquid", "contexts", "BTC", "ETH")
    played.open()
    assert turns(played.hear(frames.contexts(2))) == [
        "+price *",
        "+funding *",
        "+open_interest *",
        "+volume *",
    ]
    actions = played.hear(frames.contexts(3))
    assert actions[0] == Relist()
    assert notes(actions) == ["listing out of date"]
    assert played.hear(frames.contexts(3)) == [Relist()]  # noted once
    played.session.listing = frames.listing_of("hyperliquid", "BTC", "ETH", "NEW")
    assert {type(action) for action in played.hear(frames.contexts(3))} <= set(
        Event.__subclasses__()
    )


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_a_liquidation_that_cannot_be_costs_itself_and_is_counted(venue: str) -> None:
    if venue == "binance":
        played = Played("binance", "market", "BTC")
        price_frame, possible, impossible = (
            frames.marks("BTCUSDT"), frames.forced("BTCUSDT"), frames.forced("BTCUSDT", price=4e5)
        )  # fmt: skip
    else:
        played = Played("bybit", "market-1", "BTC")
        price_frame, possible, impossible = (
            frames.ticker("BTCUSDT"), frames.liquidated("BTCUSDT", 5),
            frames.liquidated("BTCUSDT", 5, 11, 7),  # of 10 coins that are open
        )  # fmt: skip
    played.open()
    played.hear(price_frame)
    assert len([e for e in played.hear(possible) if isinstance(e, Liquidation)]) == 1
    actions = played.hear(impossible)
    rows = 1 if venue == "binance" else 3
    assert len([e for e in actions if isinstance(e, Liquidation)]) == rows - 1
    assert [a for a in actions if isinstance(a, Unreadable)] == [
        Unreadable(rows=("BTCUSDT liquidation",))
    ]
    assert played.session.stats.unreadable_rows == 1
    assert notes(actions) == ["liquidation left out"]


def test_what_never_came_is_said_once_connected_or_not() -> None:
    played = Played("bybit", "book-1", "BTC", "ETH")
    session = played.session

    def missing(after: int) -> list[str]:
        played.now += after * 1_000
        return turns(session.missing(played.now, played.seen))

    assert missing(0) == []
    assert missing(59) == []
    played.open()
    played.hear(frames.bybit_book("BTCUSDT", 1))
    played.tick(1)
    assert missing(0) == ["-depth ETHUSDT"]
    assert missing(60) == []
    played.hear(frames.bybit_book("BTCUSDT", 2), frames.bybit_book("ETHUSDT", 1))
    assert "+depth ETHUSDT" in turns(played.tick(1))
    assert missing(600) == []
    never = Played("bybit", "market-1", "BTC").session
    assert never.missing(0, 0) == []
    states = never.missing(60_000, 60_000)
    assert {state.kind for state in states} == set(never.subscription.kinds)
    assert {state.reason for state in states} == {"not connected yet"}


# ── taking over ─────────────────────────────────────────────────────────


def test_a_session_takes_over_what_is_up_and_says_only_what_differs() -> None:
    old, new = Played("binance", "market", "BTC"), Played("binance", "market", "BTC")
    assert new.session.coverage(old.session) == 0.0  # not connected
    new.open()
    assert new.session.coverage(old.session) == 1.0  # nothing to lose
    old.open()
    old.hear(frames.marks("BTCUSDT"))
    assert new.session.coverage(old.session) == 0.0
    new.hear(frames.minis("BTCUSDT"))
    assert new.session.coverage(old.session) == pytest.approx(1 / 3)
    states = new.session.take_over(old.session, 7)
    assert turns(states) == ["-funding *", "-price *", "+volume *"]
    assert new.session.stats.frames == 2
    new.hear(frames.marks("BTCUSDT"))
    assert new.session.coverage(old.session) == 1.0


def test_down_silences_a_session_and_data_brings_it_back() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    assert turns(played.session.down("stopped", 0)) == ["-depth BTCUSDT"]
    assert played.session.down("stopped", 0) == []
    assert played.session.reason == "stopped"
    assert turns(played.tick()) == ["+depth BTCUSDT"]


# ── whatever happens ────────────────────────────────────────────────────


def _binance_frame(kind: int, first: int, length: int, level: float, symbol: str) -> bytes:
    levels = [(level, float(length))]
    match kind:
        case 0 | 1 | 2 | 3:
            return frames.change(symbol, first, first + length, levels, [(200.0 - level, 1.0)])
        case 4:
            return frames.change(symbol, first, first + length, [(level, 0.0)])
        case _:
            return [*RUBBISH.values()][(first + length) % 7]


def _bybit_frame(kind: int, first: int, length: int, level: float, symbol: str) -> bytes:
    match kind:
        case 0 | 1:
            return frames.bybit_book(symbol, first)
        case 2 | 3 | 4:
            return frames.bybit_book(symbol, first, [(level, float(length))], [], delta=True)
        case 5:
            return frames.bybit_says(
                f"error:handler not found,topic:orderbook.1000.{symbol}", False
            )
        case _:
            return [*RUBBISH.values()][(first + length) % 7]


def _okx_frame(kind: int, first: int, length: int, level: float, symbol: str) -> bytes:
    symbol = symbol.replace("USDT", "-USDT-SWAP")
    match kind:
        case 0 | 1:
            return frames.okx_book(symbol, first)
        case 2 | 3 | 4:
            levels = [(level, float(length))]
            return frames.okx_book(symbol, first + length, levels, [], previous=first)
        case 5:
            return frames.okx_says("error", code="60018", msg=f"channel:books,instId:{symbol} ,")
        case _:
            return [*RUBBISH.values()][(first + length) % 7]


def _bitget_frame(kind: int, first: int, length: int, level: float, symbol: str) -> bytes:
    match kind:
        case 0 | 1:
            return frames.bitget_book(symbol, first)
        case 2 | 3 | 4:
            levels = [(level, float(length))]
            return frames.bitget_book(symbol, first + length, levels, [], previous=first)
        case 5:
            return frames.bitget_refuses(symbol)
        case _:
            return [*RUBBISH.values()][(first + length) % 7]


def _gate_frame(kind: int, first: int, length: int, level: float, symbol: str) -> bytes:
    symbol = symbol.replace("USDT", "_USDT")
    topic = f"ob.{symbol}.400"
    match kind:
        case 0 | 1:
            return frames.gate_book(symbol, first)
        case 2 | 3 | 4:
            levels = [(level, float(length))]
            return frames.gate_book(symbol, first + length, levels, [], first=first + 1)
        case 5:
            error = "Alert sub x" if length % 2 else "level not supported"
            return frames.gate_says("futures.obu", topic, error=error)
        case _:
            return [*RUBBISH.values()][(first + length) % 7]


def _deribit_frame(kind: int, first: int, length: int, level: float, symbol: str) -> bytes:
    symbol = symbol.replace("USDT", "_USDC-PERPETUAL")
    match kind:
        case 0 | 1:
            return frames.deribit_book(symbol, first)
        case 2 | 3 | 4:
            levels = [(level, float(length))]
            return frames.deribit_book(symbol, first + length, levels, [], previous=first)
        case 5:
            return frames.deribit_answers(1 + length % 3, error="too_many_requests")
        case _:
            return [*RUBBISH.values()][(first + length) % 7]


def _kraken_frame(kind: int, first: int, length: int, level: float, symbol: str) -> bytes:
    symbol = f"PF_{symbol.removesuffix('T')}"
    match kind:
        case 0 | 1:
            return frames.kraken_book(symbol, first)
        case 2 | 3 | 4:
            (change,) = frames.kraken_changes(symbol, first + length, [(level, float(length))])
            return change
        case 5:
            return frames.kraken_says("error", message="Invalid product id")
        case _:
            return [*RUBBISH.values()][(first + length) % 7]


def _bitfinex_frame(kind: int, first: int, length: int, level: float, symbol: str) -> bytes:
    symbol = f"t{symbol.removesuffix('USDT')}F0:USTF0"
    match kind:
        case 0:
            return frames.bitfinex_opens(1 + length % 3, symbol, "book")
        case 1:
            return frames.bitfinex_tells(1 + length % 3, first, frames.bitfinex_levels())
        case 2 | 3 | 4:
            (of,) = frames.bitfinex_levels([(level, float(length))], [])
            return frames.bitfinex_tells(1 + length % 3, first, of)
        case 5:
            return frames.bitfinex_says("error", symbol=symbol, code=10300 + length % 2)
        case _:
            return [*RUBBISH.values()][(first + length) % 7]


def _htx_frame(kind: int, first: int, length: int, level: float, symbol: str) -> bytes:
    symbol = f"{symbol.removesuffix('USDT')}-USDT"
    match kind:
        case 0 | 1:
            return frames.packed(frames.htx_book(symbol, first))
        case 2 | 3 | 4:
            levels = [(level, float(length))]
            return frames.packed(frames.htx_book(symbol, first + length, levels, [], "update"))
        case 5:
            return frames.packed(frames.htx_says(symbol, "depth", "invalid symbol"))
        case _:
            return [*RUBBISH.values()][(first + length) % 7]


MAKERS = {
    "binance": _binance_frame, "bybit": _bybit_frame, "okx": _okx_frame, "bitget": _bitget_frame,
    "gate": _gate_frame, "deribit": _deribit_frame, "kraken": _kraken_frame,
    "htx": _htx_frame, "bitfinex": _bitfinex_frame,
}  # fmt: skip

CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("toggle")),
        st.tuples(st.just("tick"), st.sampled_from([1, 1, 1, 4, 70])),
        st.tuples(st.just("snapshot"), st.integers(0, 12), st.sampled_from(["BTCUSDT", "ETHUSDT"])),
        st.tuples(
            st.just("frame"),
            st.integers(0, 6),
            st.integers(0, 12),
            st.integers(0, 3),
            st.sampled_from([99.99, 99.5, 50.0, 100.5, 1e-9, 1e12]),
            st.sampled_from(["BTCUSDT", "ETHUSDT", "QQQUSDT"]),
        ),
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(venue=st.sampled_from([*MAKERS]), calls=CALLS)
def test_whatever_happens_states_alternate_and_depth_comes_only_from_books_that_are_up(
    venue: str, calls: list[tuple]
) -> None:
    played = Played(venue, "book-1", "BTC", "ETH")
    played.open()
    for call in calls:
        match call:
            case ("toggle",):
                played.close() if played.session.connected else played.open()
            case ("tick", seconds):
                if hangups(played.tick(seconds)):
                    played.close()
            case ("snapshot", last, symbol):
                played.fetch(symbol, frames.snapshot(last))
            case ("frame", *rest):
                played.hear(MAKERS[venue](*rest))
    check_order(played.done)
    ups = {(s.kind, s.symbol) for s in played.session.states(0) if s.up}
    played.close()
    states = [item for item in played.done if isinstance(item, FeedState)]
    assert {(s.kind, s.symbol) for s in states[-len(ups) :]} >= ups
    check_order(played.done)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    venue=st.sampled_from([name for name, module in VENUES.items() if not module.SPEC.spot]),
)
def test_whatever_a_market_socket_brings_states_alternate_and_come_first(
    data: st.DataObject, venue: str
) -> None:
    socket, bodies = {
        "binance": ("market", [frames.marks("BTCUSDT"), frames.minis("BTCUSDT"),
                               frames.forced("BTCUSDT"), frames.done()]),
        "bybit": ("market-1", [frames.ticker("BTCUSDT"), frames.liquidated("BTCUSDT", 1.0, 2.0),
                               frames.bybit_says("error:x,topic:tickers.BTCUSDT", False)]),
        "hyperliquid": ("contexts", [frames.contexts(1), frames.contexts(2)]),
        "okx": ("market", [frames.okx_opens(), frames.okx_forced("BTC-USDT-SWAP", 1.0, 2.0),
                           frames.okx_says("error", code="60018", msg="x"), b"pong",
                           frames.okx_says("notice", code="64008", msg="x")]),
        "binance-coinm": ("market", [frames.marks("BTCUSD_PERP"), frames.minis("BTCUSD_PERP"),
                                     frames.forced("BTCUSD_PERP"), frames.done()]),
        "aster": ("market", [frames.marks("BTCUSDT"), frames.minis("BTCUSDT"),
                             frames.forced("BTCUSDT"), frames.done()]),
        "bybit-inverse": ("market-1", [frames.ticker("BTCUSD"), frames.liquidated("BTCUSD", 1.0),
                                       frames.bybit_says("error:x,topic:tickers.BTCUSD", False)]),
        "gate": ("market", [frames.gate_opens(), frames.gate_forced("BTC_USDT", 1.0, 2.0),
                            frames.gate_says("futures.obu", "x", error="y"), frames.gate_pong(),
                            frames.gate_upgrade()]),
        "kraken": ("market-1", [frames.kraken_ticker("PF_BTCUSD"),
                                frames.kraken_forced("PF_BTCUSD", 1.0),
                                frames.kraken_says("error", message="x"),
                                frames.kraken_says("subscribed", "trade", "PF_BTCUSD")]),
        "htx": ("market", [frames.htx_opens("liquidation_orders"), frames.htx_opens("x", error=7),
                           frames.htx_forced("BTC-USDT", 1.0, 2.0), b'{"op":"ping","ts":"1"}',
                           frames.htx_tells("funding_rate", [frames.htx_rate("BTC-USDT")])]),
        "lighter": ("trade-1", [frames.lighter_trades("1", event="subscribed"),
                                frames.lighter_trades("1", frames.lighter_forced("1", 1.0)),
                                b'{"type":"ping"}', b'{"error":{"code":1,"message":"x"}}']),
        "bitfinex": ("status-1", [frames.bitfinex_opens(1, "tBTCF0:USTF0"),
                                  frames.bitfinex_tells(1, 1, frames.bitfinex_status()),
                                  frames.bitfinex_tells(1, 2, "hb"),
                                  frames.bitfinex_says("unsubscribed", chanId=1),
                                  frames.bitfinex_says("error", msg="x", code=10300)]),
        "deribit": ("market", [frames.deribit_opens(),
                               frames.deribit_forced("BTC_USDC-PERPETUAL", 1.0, 2.0),
                               frames.deribit_answers(1, error="x"),
                               frames.deribit_answers(3, {"version": "1.2.26"})]),
        "bitget": ("market", [frames.bitget_opens(), frames.bitget_forced("BTCUSDT", 1.0, 2.0),
                              frames.bitget_says("error", code=30016, msg="x"), b"pong"]),
    }[venue]  # fmt: skip
    played = Played(venue, socket, "BTC")
    for _ in range(data.draw(st.integers(0, 30))):
        match data.draw(st.integers(0, 4)):
            case 0:
                played.close() if played.session.connected else played.open()
            case 1:
                if hangups(played.tick(data.draw(st.sampled_from([1, 8, 40])))):
                    played.close()
            case 2:
                played.hear(data.draw(st.binary(max_size=40)))
            case _:
                body = data.draw(st.sampled_from(bodies))
                played.hear(body[: data.draw(st.sampled_from([len(body), len(body), 30]))])
    check_order(played.done)


def check_order(done: Sequence[Action]) -> None:
    """Feed states alternate, and facts come only of feeds that are up."""
    up: set[tuple[Kind, str]] = set()
    for action in done:
        match action:
            case FeedState(kind=kind, symbol=symbol):
                assert ((kind, symbol) in up) is not action.up, action
                assert action.up or action.reason
                (up.add if action.up else up.discard)((kind, symbol))
            case Depth(symbol=symbol):
                assert (Kind.DEPTH, symbol) in up
            case Liquidation(symbol=symbol):
                assert up & {(Kind.LIQUIDATION, symbol), (Kind.LIQUIDATION, "*")}
            case _:
                pass


def test_limits_are_what_the_venues_ask_for() -> None:
    """Hyperliquid sends a book every 5 s, so no limit below 20 s may judge it."""
    for module in VENUES.values():
        known = frames.contracts(module.SPEC.name, "BTC")
        for plan in module.subscriptions(known, module.SPEC.kinds):
            assert plan.silence_s or not module.SPEC.answers_pings, plan.name
            if module.SPEC.name == "hyperliquid":
                assert min(plan.silence_s.values()) >= 20


# ── liquidations alone on a socket, and what a connection repeats ───────

FORCED = frames.okx_forced("BTC-USDT-SWAP", 1.0)


def market(recent: RecentLiquidations | None = None) -> Played:
    """OKX's socket of all liquidations, open and subscribed."""
    played = Played("okx", "market", "BTC", "ETH", recent=recent)
    played.open()
    assert turns(played.hear(frames.okx_opens())) == ["+liquidation *"]
    return played


def liquidated(actions: Sequence[Action]) -> list[float]:
    """The coins of each liquidation."""
    return [action.base for action in actions if isinstance(action, Liquidation)]


def test_a_feed_that_is_silent_by_nature_is_up_once_it_is_subscribed() -> None:
    played = Played("okx", "market", "BTC")
    played.open()
    other = frames.okx_opens("instruments")
    assert played.hear(other, b"pong", frames.okx_says("error", code="60018", msg="x")) == (
        [action for action in played.done if isinstance(action, Note)]
    )
    assert turns(played.hear(frames.okx_opens())) == ["+liquidation *"]
    assert played.hear(frames.okx_opens()) == []  # asked twice
    assert turns(played.close()) == ["-liquidation *"]
    played.open()
    assert turns(played.done[-1:]) == []
    assert turns(played.hear(frames.okx_opens())) == ["+liquidation *"]


def test_a_confirmation_says_nothing_of_kinds_that_the_socket_does_not_bring() -> None:
    played = Played("okx", "price-1", "BTC")
    played.open()
    assert played.hear(frames.okx_opens()) == []


def test_a_socket_that_answers_no_ping_is_dead() -> None:
    played = market()
    assert hangups(played.tick(600, b"pong")) == []
    assert hangups(played.tick(50)) == []
    assert hangups(played.tick(1)) == ["it no longer answers pings"]


@pytest.mark.parametrize("venue", ["bybit", "hyperliquid"])
def test_who_answers_protocol_pings_is_not_judged_by_texts(venue: str) -> None:
    played = Played(venue, "market-1" if venue == "bybit" else "contexts", "BTC")
    played.open()
    assert "pings" not in str(hangups(played.tick(200)))


@pytest.mark.parametrize("away", [1, 59])
def test_what_a_new_connection_repeats_is_told_once(away: int) -> None:
    """OKX may begin with orders of before; two alike on one connection are two."""
    played = market()
    at = played.seen
    twice = frames.okx_forced("BTC-USDT-SWAP", 1.0, 1.0, 2.0, at=at)
    assert liquidated(played.hear(twice)) == [1, 1, 2]
    played.close()
    played.now += away * 1_000
    played.open()
    again = frames.okx_forced("BTC-USDT-SWAP", 1.0, 1.0, 1.0, 2.0, 3.0, at=at)
    assert liquidated(played.hear(frames.okx_opens(), again)) == [1, 3]
    assert played.session.stats.duplicates == 3
    other = frames.okx_forced("ETH-USDT-SWAP", 1.0, at=at)
    assert liquidated(played.hear(other)) == [1]


@pytest.mark.parametrize("away", [1, 9])
def test_what_every_one_of_several_connections_repeats_is_told_once(away: int) -> None:
    """As where a socket breaks again and again."""
    played = market()
    at, orders = played.seen, [1.0, 1.0, 2.0]
    assert liquidated(played.hear(frames.okx_forced("BTC-USDT-SWAP", *orders, at=at))) == orders
    for n in range(5):
        played.close()
        played.now += away * 1_000
        played.open()
        orders.append(10.0 + n)
        again = frames.okx_forced("BTC-USDT-SWAP", *orders, at=at)
        assert liquidated(played.hear(frames.okx_opens(), again)) == [10 + n]


def test_what_another_socket_has_told_is_not_told_by_the_one_in_its_place() -> None:
    """As after a listing that changes what a socket asks for."""
    recent = RecentLiquidations()
    first, then = market(recent), market(recent)
    assert liquidated(first.hear(FORCED)) == [1]
    then.open()
    both = FORCED, frames.okx_forced("BTC-USDT-SWAP", 2.0)
    assert liquidated(then.hear(frames.okx_opens(), *both)) == [2]


@pytest.mark.parametrize("age", [0, 55_000])
def test_what_a_process_before_this_one_has_told_is_told_once(age: int) -> None:
    before = [a for a in market().hear(FORCED) if isinstance(a, Liquidation)]
    recent = RecentLiquidations()
    played = Played("okx", "market", "BTC", "ETH", recent=recent)
    recent.resume([(age, event) for event in before], played.now)
    for news in [2], []:
        played.open()
        both = FORCED, frames.okx_forced("BTC-USDT-SWAP", 2.0)
        assert liquidated(played.hear(frames.okx_opens(), *both)) == news
        played.close()


def kraken(recent: RecentLiquidations | None = None) -> Played:
    """A socket of Kraken, open and with data."""
    played = Played("kraken", "market-1", "BTC", "ETH", recent=recent)
    played.open()
    played.hear(frames.kraken_ticker("PF_BTCUSD", at=played.seen))
    return played


def trades(at: int, *coins: float, uid: str = "trade") -> list[dict[str, object]]:
    """Liquidations of Kraken, whose ids are those of their places."""
    return [
        frames.kraken_trade("PF_BTCUSD", qty, at, type="liquidation", uid=f"{uid}-{n}")
        for n, qty in enumerate(coins)
    ]


@pytest.mark.parametrize("minutes", [0, 1, 30])
def test_what_a_subscription_begins_with_anew_is_known_by_its_id(minutes: float) -> None:
    """Whatever makes a session ask for each contract singly, Kraken sends the last trades again."""
    played = kraken()
    at, live = played.seen, trades(played.seen, 1.0, 1.0)
    for trade in live:
        assert liquidated(played.hear(json.dumps(trade).encode())) == [1]
    again = frames.kraken_trades("PF_BTCUSD", live)
    if not minutes:
        played.close()
        played.open()
        assert liquidated(played.hear(again)) == []
    played.tick(60 * minutes, frames.kraken_ticker("PF_BTCUSD"))
    assert sent(played.hear(frames.kraken_says("error", message="Invalid product id")))
    assert liquidated(played.hear(again)) == []
    more = trades(at, 1.0, 1.0, 2.0)
    more[2]["time"] = played.seen
    assert liquidated(played.hear(frames.kraken_trades("PF_BTCUSD", more))) == [2]


@pytest.mark.parametrize("ahead", [5, 65, 400])
def test_a_clock_that_is_ahead_makes_no_liquidation_old(ahead: int) -> None:
    played = kraken()
    for second in range(50):
        played.now += 1_000
        at = played.seen - ahead * 1_000
        played.hear(frames.kraken_ticker("PF_BTCUSD", at=at))
        trade = trades(at, 1.0, uid=f"at {second}")
        assert liquidated(played.hear(json.dumps(trade[0]).encode())) == [1]
    old = frames.kraken_trades("PF_BTCUSD", trades(at - 180_000, 5.0, uid="old"))
    assert liquidated(played.hear(old)) == []


def test_what_waits_to_speak_is_remembered_once() -> None:
    """Two sockets bring the same while one is replaced: two alike later are two."""
    recent = RecentLiquidations()
    old, new = market(recent), market(recent)
    new.session.replaces = old.session
    for played in (old, new):
        played.hear(FORCED)
    new.session.take_over(old.session, new.seen)
    new.close()
    new.open()
    assert liquidated(new.hear(frames.okx_opens(), FORCED, FORCED)) == [1]


@pytest.mark.parametrize(("minutes", "is_news"), [(0.5, True), (2, False), (60, False)])
def test_what_happened_long_before_the_connection_is_no_news(minutes: float, is_news: bool) -> None:
    played = market()
    old = frames.okx_forced("BTC-USDT-SWAP", 1.0, at=played.seen - int(minutes * 60_000))
    assert liquidated(played.hear(old)) == [1] * is_news


def test_what_is_reported_late_while_the_connection_stands_is_news() -> None:
    """Eight minutes late was seen; and a clock that is wrong loses the first minute, not all."""
    played = market()
    played.tick(61, b"pong")
    late = frames.okx_forced("BTC-USDT-SWAP", 1.0, at=played.seen - 8 * 60_000)
    assert liquidated(played.hear(late)) == [1]
    ahead = frames.okx_forced("BTC-USDT-SWAP", 2.0, at=played.seen - 180 * 60_000)
    assert liquidated(played.hear(ahead)) == [2]


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_liquidations_of_other_venues_are_told_as_they_come(venue: str) -> None:
    played = Played(venue, "market" if venue == "binance" else "market-1", "BTC")
    forced = frames.forced if venue == "binance" else frames.liquidated
    for _ in range(2):
        played.open()
        played.hear(frames.marks("BTCUSDT") if venue == "binance" else frames.ticker("BTCUSDT"))
        frame = forced("BTCUSDT", 1.0, at=played.seen)
        assert liquidated(played.hear(frame, frame)) == [1, 1]
        played.tick(5, frames.marks("BTCUSDT"))
        played.close()


@pytest.mark.parametrize(("venue", "throttled"), [("binance", True), ("bybit", False)])
def test_a_liquidation_says_whether_its_venue_leaves_others_out(
    venue: str, throttled: bool
) -> None:
    played = Played(venue, "market" if venue == "binance" else "market-1", "BTC")
    played.open()
    forced = frames.forced if venue == "binance" else frames.liquidated
    actions = played.hear(forced("BTCUSDT", 1.0, at=played.seen))
    assert [a.throttled for a in actions if isinstance(a, Liquidation)] == [throttled]


def test_okx_leaves_liquidations_out_and_knows_those_that_a_connection_repeats() -> None:
    played = market()
    first = [a for a in played.hear(FORCED) if isinstance(a, Liquidation)]
    assert [liquidation.throttled for liquidation in first] == [True]
    played.close()
    played.open()
    assert turns(played.hear(frames.okx_opens())) == ["+liquidation *"]
    assert liquidated(played.hear(FORCED)) == []


def test_a_venue_that_is_about_to_close_a_connection_is_believed() -> None:
    played = market()
    assert not played.session.closing
    assert played.hear(frames.okx_says("notice", code="64008", msg="upgrade")) == []
    assert played.session.closing
    played.close()
    played.open()
    assert not played.session.closing


def test_okx_refuses_one_contract_and_an_index_costs_nothing() -> None:
    played = Played("okx", "price-1", "BTC", "XYZ")
    played.open()
    text = "Wrong URL or channel:index-tickers,instId:BTC-USDT doesn't exist."
    actions = played.hear(frames.okx_says("error", code="60018", msg=text))
    assert [[topic["instId"] for topic in message["args"]] for message in sent(actions)] == [
        ["BTC-USDT-SWAP", "BTC-USDT"], ["XYZ-USDT-SWAP", "XYZ-USDT"]
    ]  # fmt: skip
    assert turns(played.hear(frames.okx_price("BTC-USDT-SWAP"))) == ["+price BTC-USDT-SWAP"]
    text = "Wrong URL or channel:mark-price,instId:XYZ-USDT-SWAP doesn't exist."
    played.hear(frames.okx_says("error", code="60018", msg=text))
    assert {state.symbol for state in played.session.states(0)} == {"BTC-USDT-SWAP"}


def test_an_index_that_okx_tells_no_more_is_unknown_after_a_minute() -> None:
    """Marks go on: the last index is not that of now, and says nothing of a fall."""
    played = Played("okx", "price-1", "BTC")
    played.open()
    played.hear(frames.okx_index("BTC-USDT-SWAP", 100))
    for second in range(120):
        played.hear(frames.okx_price("BTC-USDT-SWAP", 100 - second / 4))
        played.tick()
    prices = [action for action in played.done if isinstance(action, Price) and action.mark]
    assert [price.index for price in prices] == [100] * 61 + [None] * 59
    assert hangups(played.done) == []


@pytest.mark.parametrize("gone", ["", None])
def test_what_a_whole_row_does_not_have_any_more_is_not_said_again(gone: str | None) -> None:
    played = Played("gate", "market", "BTC")
    played.open()
    played.hear(frames.gate_ticker("BTC_USDT", at=played.seen))
    count = len([event for event in played.done if isinstance(event, OpenInterest | Funding)])
    assert count >= 2
    for _ in range(300):
        missing = {"total_size": gone, "funding_rate": gone}
        played.tick(1, frames.gate_ticker("BTC_USDT", at=played.seen, **missing))
    assert [type(e) for e in played.done if isinstance(e, OpenInterest | Funding)][count:] == []
    assert [price.index for price in played.done if isinstance(price, Price)] == [100] * 301


def test_prices_of_okx_come_one_at_a_time_and_are_filled_in() -> None:
    played = Played("okx", "price-1", "BTC")
    played.open()
    played.hear(frames.okx_price("BTC-USDT-SWAP", 100), frames.okx_index("BTC-USDT-SWAP", 101))
    prices = [action for action in played.done if isinstance(action, Price)]
    assert [(price.mark, price.index) for price in prices] == [(100, None), (100, 101)]
    assert hangups(played.tick(30)) == []
    assert hangups(played.tick(1)) == ["no price data for 31 s"]
