"""Silences: asked for in words, in force until they end."""

import msgspec
import pytest

from bot.lang import ENGLISH
from bot.lang.words import PhraseError
from bot.plan.silences import (
    Silence,
    covered,
    dump,
    load,
    pause,
    pause_in_force,
    silence,
    silence_lines,
    silenced,
    split_by_end,
    with_silence,
    without_silence,
)
from rules.alerts import Level
from tests.bot import asked

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


def test_a_pause_is_a_silence_of_everything_that_what_is_critical_is_no_exception_from():
    alert = msgspec.structs.replace(asked.EPISODE[0], level=Level.CRITICAL)
    alone = (quiet("*", "*"),)
    assert covered(alert, alone, NOW) and not silenced(alert, alone, NOW)
    assert silenced(msgspec.structs.replace(alert, level=Level.ALERT), alone, NOW)
    half_hour = pause("30m", NOW, "@ann")
    assert silenced(alert, (half_hour,), NOW + 30 * MIN - 1)
    assert not silenced(alert, (half_hour,), NOW + 30 * MIN)
    assert pause_in_force((*alone, half_hour), NOW) == half_hour
    assert pause_in_force((*alone, half_hour), NOW + 30 * MIN) is None
    assert silence_lines((half_hour,), ENGLISH, NOW) == [
        "everything, what is critical too, 30 min left (@ann)"
    ]


def test_a_pause_and_a_silence_of_everything_do_not_replace_each_other():
    everything, paused = quiet("*", "*"), pause("30m", NOW)
    both = with_silence(with_silence((), everything), paused)
    assert both == (everything, paused)
    assert with_silence(both, pause("1h", NOW)) == (everything, pause("1h", NOW))
    assert without_silence(both, "*", "*") == (paused,)
    assert without_silence(both, "*", "*", critical=True) == (everything,)


@pytest.mark.parametrize(
    ("length", "why"),
    [
        ("30", '"30" is no duration: use one such as 30m, 6h or 2d'),
        ("25h", '"25h" is too long: a pause lasts at most 1d'),
    ],
)
def test_what_is_wrong_with_a_pause_is_said_in_a_sentence(length: str, why: str):
    with pytest.raises(PhraseError) as error:
        pause(length, NOW)
    assert error.value.in_words(ENGLISH) == why


def test_one_that_an_older_version_kept_is_read():
    kept = b'[{"family":"*","asset":"BTC","until":5,"by":"@ann"}]'
    assert load(kept) == (Silence(family="*", asset="BTC", until=5, by="@ann"),)


def test_they_are_kept():
    silences = (quiet(), quiet("*", "*"), pause("1h", NOW))
    assert load(dump(silences)) == silences
