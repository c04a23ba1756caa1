"""The JSON schema that editors use says yes and no where the configuration does."""

import re
import tomllib

import msgspec
import pytest
from jsonschema import Draft202012Validator

from bot.config.schema import ALL, TIERS, json_schema, keys_at
from bot.lang import LANGUAGES
from streams.sources import SOURCES
from streams.venues import VENUES
from tests.conftest import ROOT
from tests.golden import check_text

SCHEMA = json_schema(sorted(VENUES), sorted(LANGUAGES), sorted(SOURCES))
DOCS = (ROOT / "docs/configuration.md").read_text()
BLOCKS = re.findall(r"^```toml\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE)


def problems(text: str) -> list[str]:
    document = tomllib.loads(text)
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)]


def test_the_exported_file_is_that_of_the_program_and_named_in_the_first_line():
    text = msgspec.json.format(msgspec.json.encode(SCHEMA), indent=1).decode()
    check_text(ROOT / "docs/config.schema.json", f"{text}\n")
    first, *_ = (ROOT / "config.toml").read_text().splitlines()
    assert first == "#:schema ./docs/config.schema.json"


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", ["config.toml", "config.tests.toml"])
def test_the_shipped_files_fit(name: str):
    assert problems((ROOT / name).read_text()) == []


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_what_the_documentation_shows_fits(block: str):
    assert problems(block) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[channel]\npost_per_hour = 6", "'post_per_hour' was unexpected"),
        ("[channel]\nposts_per_hour = 0", "0 is less than the minimum of 1"),
        ("[channel]\nlanguage = 'xx'", "'xx' is not one of"),
        ("[markets]\nvenues = ['binanse']", "'binanse' is not one of"),
        ("[venues.binanse]\nrest = 'https://x'", "'binanse' is not one of"),
        ("[rules.mine]\nfires = 'beside'", "is not valid under any of the given schemas"),
        ("[rules.mine]\nmajors = { alarm = 3 }", "is not valid under any of the given schemas"),
        ("[rules.mine]\nmajors = { alert = '3 %', watch = true }", "is not valid under any"),
        ("[rules.one]\nall_of = ['oi_drop:alert']\nwithin = 3", "is not valid under any"),
        ("[[chats]]\ntopic = 3", "'id' is a required property"),
        ("[[chats]]\nid = 3\nmin_level = 'loud'", "'loud' is not one of"),
        ("[defaults]\ncooldown = 60", "60 is not of type 'string'"),
        ("[web]\nadress = 'none'", "'adress' was unexpected"),
        ("rulse = 3", "'rulse' was unexpected"),
    ],
)
def test_what_lowtide_would_refuse_is_marked(text: str, why: str):
    assert why in " ".join(problems(text))


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ([], None),
        (["channel"], "Channel"),
        (["chats", 0], "ChatTable"),
        (["markets"], "MarketsTable"),
        (["rules", "x", "windows", "1h"], "WindowTable"),
        (["rules", "x", "majors"], "RowTable"),
        (["test", 0], "TestTable"),
    ],
)
def test_it_has_the_keys_that_the_configuration_has(path: list[str | int], table: str | None):
    known = SCHEMA if table is None else SCHEMA["$defs"][table]
    assert sorted(known["properties"]) == sorted(
        key for key in keys_at(path) if key not in (*TIERS, ALL) or table == "MarketsTable"
    )
