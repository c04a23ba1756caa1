"""Silences: asked for in words, in force until they end."""

import pytest

from bot.lang import ENGLISH
from bot.lang.words import PhraseError
from bot.plan.silences import (
    Silence,
    dump,
    load,
    silence,
    silence_lines,
    split_by_end,
    with_silence,
    without_silence,
)

NOW = 1_791_020_520_000
MIN, HOUR, DAY = 60_000, 3_600_000, 86_400_000
FAMILIES = ("oi_drop", "liq_burst", "cascade")


def quiet(family: str = "oi_drop", asset: str = "SOL", ms: int = HOUR) -> Silence:
    return Silence(family=family, asset=asset, until=NOW + ms)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("oi_drop SOL 6h", quiet(ms=6 * HOUR)),
        ("  oi_drop   sol  30m ", quiet(ms=30 * MIN)),
        ("oi_drop SOL 1h30m", quiet(ms=90 * MIN)),
        ("oi_drop SOL 3600s", quiet(ms=HOUR)),
        ("* BTC 2d", quiet("*", "BTC", 2 * DAY)),
        ("liq_burst * 30d", quiet("liq_burst", "*", 30 * DAY)),
    ],
)
def test_a_silence_is_asked_for_in_words(text: str, wanted: Silence):
    assert silence(text, FAMILIES, NOW) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", 'write it like "oi_drop SOL 6h"; * stands for every rule or every asset'),
        ("oi_drop SOL", 'write it like "oi_drop SOL 6h"; * stands for every rule or every asset'),
        (
            "oi_dorp SOL 6h",
            'there is no rule "oi_dorp": use one of oi_drop, liq_burst, cascade',
        ),
        ("oi_drop SOL 6", '"6" is no duration: use one such as 30m, 6h or 2d'),
        ("oi_drop SOL 0h", '"0h" is no duration: use one such as 30m, 6h or 2d'),
        ("oi_drop SOL 31d", '"31d" is too long: a silence lasts at most 30d'),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(text: str, why: str):
    with pytest.raises(PhraseError) as error:
        silence(text, FAMILIES, NOW)
    assert error.value.in_words(ENGLISH) == why


def test_it_covers_its_rule_and_asset_until_it_ends():
    sol = quiet()
    assert sol.covers("oi_drop", "SOL", NOW)
    assert not sol.covers("oi_drop", "BTC", NOW)
    assert not sol.covers("liq_burst", "SOL", NOW)
    assert sol.covers("oi_drop", "SOL", NOW + HOUR - 1)
    assert not sol.covers("oi_drop", "SOL", NOW + HOUR)
    assert quiet("*", "SOL").covers("liq_burst", "SOL", NOW)
    assert quiet("oi_drop", "*").covers("oi_drop", "BTC", NOW)


def test_a_new_one_replaces_that_for_the_same_rule_and_asset():
    both = with_silence(with_silence((), quiet()), quiet(asset="BTC"))
    longer = with_silence(both, quiet(ms=2 * HOUR))
    assert set(longer) == {quiet(asset="BTC"), quiet(ms=2 * HOUR)}
    assert without_silence(longer, "oi_drop", "BTC") == (quiet(ms=2 * HOUR),)


def test_they_are_listed_by_what_is_left_and_those_over_are_told_apart():
    silences = (quiet(ms=5 * HOUR + 12 * MIN), quiet("*", "BTC", 30 * MIN), quiet("cascade", ms=-1))
    assert silence_lines(silences, ENGLISH, NOW) == [
        "* BTC, 30 min left",
        "oi_drop SOL, 5 h 12 min left",
    ]
    assert split_by_end(silences, NOW) == (silences[:2], silences[2:])


def test_they_are_kept():
    silences = (quiet(), quiet("*", "*"))
    assert load(dump(silences)) == silences
