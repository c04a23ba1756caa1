import pytest

from rules.alerts import EpisodeKey

BTC = EpisodeKey("oi_drop:1h", "BTC", 1_790_006_400_000)
BYBIT = EpisodeKey("thin", "bybit/BTCUSDT", 1_790_006_400_001)


@pytest.mark.parametrize("key", [BTC, BYBIT, EpisodeKey("cascade", "ALL", 0)])
def test_a_key_is_read_as_it_is_written_and_from_the_ids_of_its_turns(key: EpisodeKey) -> None:
    assert EpisodeKey.parse(str(key)) == key
    assert EpisodeKey.parse(key.turn(1)) == EpisodeKey.parse(key.turn(12)) == key


@pytest.mark.parametrize(
    "text",
    ["", "BTC", "oi_drop:BTC", "oi_drop:1h:BTC", "BTC:179", "oi_drop:BTC:²", "a:b:1:x",
     "oi_drop:BTC:9999999999999999"],
)  # fmt: skip
def test_what_is_no_key_is_none(text: str) -> None:
    assert EpisodeKey.parse(text) is None
