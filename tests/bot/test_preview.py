"""Every message of the shipped rules, each turn, in every language, as the command shows it.

After a change of words, levels or rules run it with LOWTIDE_GOLDEN=write and read the diff.
"""

import json
import re
from pathlib import Path

import pytest

from bot.config import Settings, load
from bot.destination import Service
from bot.lang import LANGUAGES
from bot.messages.render import render
from bot.preview import preview, sample_alert, sample_cascade, turns_of
from rules.alerts import Turn
from tests.bot.fake_telegram import parsed
from tests.golden import check_text

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def shipped() -> Settings:
    return load(ROOT / "config.toml", {})


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_of_every_rule(shipped: Settings, language: str):
    text = preview(shipped, None, language, html=False)
    check_text(GOLDEN / f"preview_{language}.txt", f"{text}\n")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_can_be_sent_and_says_what_is_known(shipped: Settings, language: str):
    alerts = [sample_alert(rule, turn) for rule in shipped.rules for turn in turns_of(rule)]
    alerts += [sample_cascade(c, shipped.rules, turn) for c in shipped.composites for turn in Turn]
    for alert in alerts:
        message = render(alert, LANGUAGES[language])
        assert parsed(message.html) == message.plain
        assert len(message.plain) <= 500
        assert not re.search(r"None|\bnan\b|[{}]", message.plain), alert.id


def test_a_sample_is_beyond_the_levels_that_it_tells_of(shipped: Settings):
    for rule in shipped.rules:
        for turn in turns_of(rule):
            alert = sample_alert(rule, turn)
            sign = 1 if rule.fires == "above" else -1
            beyond = sign * alert.value > sign * alert.threshold
            assert beyond is (turn is not Turn.CLOSE), alert.id
            assert rule.row_of(alert.asset) is not None


def test_one_rule_its_windows_or_a_composite(shipped: Settings):
    heads = re.findall("=== ([^,]*), ", preview(shipped, "oi_drop", "en", html=False))
    assert set(heads) == {"oi_drop:15m", "oi_drop:1h", "oi_drop:24h"}
    heads = re.findall("=== ([^,]*), ", preview(shipped, "oi_drop:1h", "en", html=False))
    assert set(heads) == {"oi_drop:1h"}
    assert "<b>BTC " in preview(shipped, "cascade", "ja", html=True)


def test_a_rule_that_is_not_there_is_named_with_the_one_that_was_meant(shipped: Settings):
    with pytest.raises(ValueError, match=r'no rule oi_dorp \(did you mean "oi_drop'):
        preview(shipped, "oi_dorp", "en", html=False)


@pytest.mark.parametrize("service", Service)
def test_what_a_messenger_gets_is_shown_as_it_is_sent(shipped: Settings, service: Service):
    text = preview(shipped, "oi_drop", "ja", html=False, service=service)
    bodies = re.split(r"^=== .*\n", text, flags=re.M)[1:]
    plain = re.split(r"^=== .*\n", preview(shipped, "oi_drop", "ja", html=False), flags=re.M)[1:]
    assert len(bodies) == len(plain) > 3
    for body, message in zip(bodies, plain, strict=True):
        words = re.findall(r"\w+", message.splitlines()[0])[:2]  # before any number or time
        text = json.dumps(json.loads(body), ensure_ascii=False)
        assert words and all(word in text for word in words)
