"""What all venues together report of themselves."""

import pytest

from streams.durations import HOUR, MINUTE
from streams.events import FeedState, Instrument, Kind, Ms
from streams.feed.hub import Hub, VenueAddress
from streams.feed.selection import Markets
from streams.venues import VENUES

BTC = Instrument(venue="bybit", symbol="BTCUSDT", asset="BTC", quote="USDT")


class SteppingClock:
    """A steady clock, and one of the machine that is set."""

    def __init__(self) -> None:
        self.steady: Ms = 0
        self.line: Ms = 1_790_000_000_000

    def now(self) -> Ms:
        return self.steady

    def seen(self) -> Ms:
        return self.line + self.steady

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


@pytest.mark.parametrize("step", [0, 10 * MINUTE, -2 * HOUR])
def test_since_when_a_contract_is_silent_goes_with_a_clock_that_steps(
    step: Ms, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppingClock()
    markets = Markets(majors=("BTC",), large=(), tail=0)
    hub = Hub([VenueAddress(venue=VENUES["bybit"])], markets, lambda _: None, clock)
    monkeypatch.setattr(hub.clients[0], "watched_of", lambda _: [BTC])
    down = FeedState(
        venue="bybit", symbol="BTCUSDT", kind=Kind.DEPTH, seen=clock.seen(), up=False,
        reason="no data",
    )  # fmt: skip
    hub.clients[0]._publish(down)
    clock.steady += MINUTE
    clock.line += step
    [silent] = hub.status()[0].silent
    assert (silent.symbol, silent.kinds, silent.reason) == ("BTCUSDT", ["depth"], "no data")
    assert clock.seen() - silent.since == MINUTE
