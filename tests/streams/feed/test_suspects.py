"""A venue that closes the socket at one coin: the others' books come all the same."""

import json
import random

import pytest

from streams.feed.actions import Action, Send
from streams.feed.suspects import Suspects
from tests.streams import frames
from tests.streams.played import Played, notes

COINS = [f"C{number}" for number in range(32)]


def asked(actions: list[Action]) -> list[str]:
    """The coins whose books are asked for."""
    messages = [json.loads(action.data) for action in actions if isinstance(action, Send)]
    return [m["subscription"]["coin"] for m in messages if m["method"] == "subscribe"]


class Closing:
    """A venue that gives the book of each coin at once, and closes the socket at some coins."""

    def __init__(self, *evil: str, flaky: float = 0.0, dice: random.Random | None = None) -> None:
        self.played = Played("hyperliquid", "book-1", *COINS)
        self.evil = evil
        self.closings = 0
        self.notes: list[str] = []
        self._flaky, self._dice = flaky, dice or random.Random(1)

    def run(self, seconds: int) -> None:
        """One connection after the other, for so long."""
        actions = self.played.open()
        heard: list[str] = []
        for second in range(seconds):
            closes = self._dice.random() < self._flaky
            for coin in asked(actions):
                if coin in self.evil:
                    closes = True
                    break
                self.played.hear(frames.coin_book(coin))
                heard.append(coin)
            if closes:
                self.closings += 1
                self.notes += notes(self.played.close("it closed the connection with code 1006"))
                heard.clear()
                self.played.now += 1_000
                actions = self.played.open()
            else:
                again = heard[:1] if second % 20 else heard
                actions = self.played.tick(1, *map(frames.coin_book, again))

    def missing(self) -> set[str]:
        """Coins whose book is not up."""
        return {s.symbol for s in self.played.session.states(0) if not s.up}


@pytest.mark.parametrize("evil", [("C0",), ("C20",), ("C31",), ("C7", "C8"), ("C1", "C16", "C30")])
def test_the_coin_at_which_the_socket_closes_is_found_and_costs_itself(evil: tuple[str, ...]):
    venue = Closing(*evil)
    venue.run(250)
    assert venue.missing() == set()
    assert venue.played.session._suspects.guilty == set(evil)
    assert venue.played.session.stats.refused == len(evil)
    assert venue.notes.count("request refused") == 1  # noted once a connection's life
    assert venue.closings <= 7 + 10 * len(evil)
    before = venue.closings
    venue.run(60)  # reconnected for another reason
    assert (venue.closings, venue.missing()) == (before, set())
    assert not venue.played.session._suspects.searching


@pytest.mark.parametrize("seed", range(10))
def test_a_network_that_fails_makes_no_coin_guilty(seed: int):
    venue = Closing(flaky=0.05, dice=random.Random(seed))
    venue.run(150)
    venue._flaky = 0.0
    venue.run(250)
    assert venue.missing() == set()
    assert venue.played.session._suspects.guilty == set()


def test_a_venue_that_closes_at_once_whatever_is_asked_makes_no_coin_guilty():
    venue = Closing(*COINS)
    venue.run(150)
    assert venue.played.session._suspects.guilty == set()
    venue.evil = ()
    venue.run(150)
    assert venue.missing() == set()


def test_a_socket_that_replaces_another_does_not_ask_for_the_guilty():
    venue = Closing("C7")
    venue.run(250)
    other = Closing("C7")
    other.played.session.replace(venue.played.session)
    assert set(asked(other.played.open())) == {*COINS} - {"C7"}


def test_one_symbol_alone_is_not_searched():
    suspects = Suspects()
    suspects.begin(["BTC"])
    assert not suspects.searching and suspects.opened(0) == ()
