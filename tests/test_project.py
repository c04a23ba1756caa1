"""The project about itself: documentation that is true, roles that start, imports that hold."""

import ast
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from packaging.requirements import Requirement

from bot.__main__ import main
from bot.commands.parsing import SPECS
from bot.config import load
from bot.config.markets import looks_like_asset
from bot.config.ruletests import report, run_all
from bot.config.schema import (
    Channel,
    ChatTable,
    CompositeTable,
    Defaults,
    DeliveryTable,
    HistoryTable,
    MessengerTable,
    Metrics,
    Operators,
    Redis,
    Table,
    TelegramTable,
    WebhookTable,
    WebTable,
    keys_at,
)
from bot.config.warnings import warnings
from bot.lang import LANGUAGES
from rules.metrics import METRICS, metric
from streams.events import SPOT_KINDS, AnyEvent, Kind
from streams.sources import SOURCES
from streams.venue import Spec
from streams.venues import VENUES
from tests import channel_picture
from tests.bot.fake_telegram import TOKEN
from tests.gates.release import pins
from tests.streams.frames import contracts
from tests.streams.venues.test_venues_recorded import READ

ROOT = Path(__file__).resolve().parent.parent
DOCS = (
    "README.md", "ARCHITECTURE.md", "NORMALISATION.md", "ADDING.md", "docs/commands.md",
    "docs/configuration.md", "docs/backtest.md", "docs/defaults.md", "docs/tuning.md",
    "docs/operating.md", "docs/start.zh-TW.md", "docs/start.ja.md", "docs/tuning.zh-TW.md",
    "docs/tuning.ja.md",
)  # fmt: skip
EVENTS = get_args(AnyEvent)
ROLES = ("streams", "rules", "bot")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
COMMAND_LINE = re.compile(r"^(?:\$ )?((?:make|lowtide) .+)$", re.MULTILINE)
FILE_NAME = re.compile(r"[\w./*-]+(\.(py|toml|md|lock|jsonl|json|gz|example)|/)")
PLACEHOLDER = re.compile(r"\b(NAME|FILE|PATH|VENUE|METRIC|LANGUAGE|SINK)\b")
TABLE_HEADER = re.compile(r"\[([\w.-]+)\]")
DOTTED = re.compile(r"[a-z_]+(\.[a-z0-9_-]+)+")
HEADING = re.compile(r"^#+ .*`\[+([\w.]+)\]+`", re.MULTILINE)
KEY_ROW = re.compile(r"^\| `(\w+)` \| (.*?) \|", re.MULTILINE)
OWN_TIERS = ("memes",)
"""Tiers of the operator's own in the examples of the documentation."""


@cache
def ignored() -> frozenset[str]:
    """What is made here and not part of the project."""
    lines = (ROOT / ".gitignore").read_text().split()
    return frozenset({".git", *(line.strip("/") for line in lines)})


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project, relative to its root."""

    def walk(folder: Path) -> Iterator[Path]:
        for entry in sorted(folder.iterdir()):
            if any(fnmatch.fnmatch(entry.name, pattern) for pattern in ignored()):
                continue
            if entry.is_dir():
                yield from walk(entry)
            else:
                yield entry.relative_to(ROOT)

    return tuple(walk(ROOT))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def spans(text: str) -> list[str]:
    """What stands in backticks, outside of fenced blocks."""
    return SPAN.findall(FENCE.sub("", text))


def commands(text: str) -> list[tuple[str, str]]:
    """``make …`` and ``lowtide …``: program and command, alternatives (a | b) written out."""
    command_lines = [span for span in spans(text) if span.startswith(("make ", "lowtide "))]
    for _, block in FENCE.findall(text):
        command_lines += COMMAND_LINE.findall(block)
    split: list[tuple[str, str]] = []
    for command in command_lines:
        program, rest = command.split(maxsplit=1)
        split += [(program, word.split()[0]) for word in rest.split("|") if word.split()]
    return split


def paths(text: str) -> list[str]:
    """Names of files and folders in backticks, and at the start of lines in plain fenced blocks."""
    names = spans(text)
    for language, block in FENCE.findall(text):
        if language in ("", "text"):
            names += [line.split()[0] for line in block.splitlines() if line.split()]
    return [name for name in names if looks_like_path(name) and not PLACEHOLDER.search(name)]


def looks_like_path(name: str) -> bool:
    first, slash, _ = name.partition("/")
    if not first or re.search(r"[^\w./*-]", name):
        return False
    return bool(FILE_NAME.fullmatch(name)) or bool(slash and (ROOT / first).is_dir())


def exists(name: str) -> bool:
    """A path from the root; or, in a tree drawn with indents, a name that is somewhere."""
    if any(fnmatch.fnmatch(name.split("/")[0], pattern) for pattern in ignored()):
        return True
    if any(ROOT.glob(name.rstrip("/"))):
        return True
    wanted = name.rstrip("/")
    parts = {part for file in files() for part in file.parts}
    return "/" not in wanted and wanted in parts


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))


def is_command(name: str, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether ``lowtide`` knows the command, by asking for its help."""
    with pytest.raises(SystemExit) as done:
        main([name, "--help"])
    capsys.readouterr()
    return done.value.code == 0


def known_key(path: tuple[str, ...]) -> bool:
    """Whether config.toml may hold the key. Names of venues and rules are the operator's own."""
    for depth, key in enumerate(path):
        named = depth == 1 and path[0] in ("venues", "rules", "sectors")
        named |= depth == 3 and path[2] == "windows"
        row = depth in (2, 4) and path[0] == "rules" and (looks_like_asset(key) or key == "TIER")
        own = key in OWN_TIERS and path[0] in ("markets", "rules")
        if not (named or row or own) and key not in keys_at(path[:depth]):
            return False
    return True


def key_paths(table: dict[str, Any], parent: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*parent, key)
        plain = (
            "for",
            "min_loss_musd",
            "min_oi_musd",
            "group_wait",
            "series",
            "when",
            "least_fall_pct",
        )
        for table in value if isinstance(value, list) else [value]:
            if isinstance(table, dict) and key not in plain:
                yield from key_paths(table, (*parent, key))


def config_keys(text: str) -> Iterator[tuple[str, ...]]:
    """Keys of config.toml that are named: in TOML blocks, as ``[table]``, as ``table.key``."""
    for language, block in FENCE.findall(text):
        if language == "toml":
            yield from key_paths(tomllib.loads(block))
    for span in spans(text):
        if header := TABLE_HEADER.fullmatch(span):
            yield tuple(header[1].split("."))
        elif DOTTED.fullmatch(span):
            path = tuple(span.split("."))
            if path[0] in keys_at(()) and not any((ROOT / at).exists() for at in (path[0], span)):
                yield path


@pytest.mark.parametrize("doc", DOCS)
def test_paths_in_documentation_exist(doc: str) -> None:
    named = paths(text_of(doc))
    assert named
    assert [name for name in named if not exists(name)] == []


@pytest.mark.parametrize("doc", DOCS)
def test_commands_in_documentation_exist(doc: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = {"make": make_targets().__contains__, "lowtide": lambda name: is_command(name, capsys)}
    named = set(commands(text_of(doc)))
    assert [pair for pair in sorted(named) if not known[pair[0]](pair[1])] == []


@pytest.mark.parametrize("doc", DOCS)
def test_config_keys_in_documentation_exist(doc: str) -> None:
    assert [".".join(key) for key in config_keys(text_of(doc)) if not known_key(key)] == []


def documented_keys() -> dict[tuple[str, ...], dict[str, str]]:
    """Table of config.toml → its keys in docs/configuration.md → what holds without them."""
    text = text_of("docs/configuration.md")
    by_table: dict[tuple[str, ...], dict[str, str]] = {}
    headings = list(HEADING.finditer(text))
    for heading, end in zip(headings, [*headings[1:], None], strict=True):
        part = text[heading.end() : end.start() if end else len(text)].partition("<!--")[0]
        path = tuple(heading[1].split("."))
        by_table.setdefault(path, {}).update(dict(KEY_ROW.findall(part)))
    return by_table


def test_the_page_on_configuration_has_every_key_and_no_other() -> None:
    documented = documented_keys()
    assert {path: set(keys) for path, keys in documented.items()} == {
        path: set(keys_at(path)) for path in documented
    }
    assert {path[0] for path in documented} | {"extends"} == set(keys_at(()))


DEFAULTS: dict[str, type[Table]] = {
    "channel": Channel,
    "chats": ChatTable,
    "operators": Operators,
    "webhooks": WebhookTable,
    "messengers": MessengerTable,
    "delivery": DeliveryTable,
    "telegram": TelegramTable,
    "redis": Redis,
    "metrics": Metrics,
    "history": HistoryTable,
    "web": WebTable,
    "defaults": Defaults,
}
NEEDED = {
    "chats": {"id": 1},
    "webhooks": {"url": "https://example.org"},
    "messengers": {"service": "slack"},
}


@pytest.mark.parametrize("section", DEFAULTS)
def test_the_page_on_configuration_tells_the_defaults(section: str) -> None:
    cells = documented_keys()[section,]
    model = DEFAULTS[section]
    defaults = {key: text.strip("`") for key, text in cells.items() if text.startswith("`")}
    needed: dict[str, Any] = NEEDED.get(section, {})
    values = {key: tomllib.loads(f"x = {text}")["x"] for key, text in defaults.items()}
    assert defaults
    assert model(**needed, **values) == model(**needed)


def test_the_page_on_configuration_tells_the_defaults_of_composites() -> None:
    text = text_of("docs/configuration.md").partition("a composite, `[rules.NAME]`")[2]
    cells: dict[str, str] = dict(KEY_ROW.findall(text.partition("```")[0]))
    defaults = {key: cell.strip("`") for key, cell in cells.items() if cell.startswith("`")}
    needed = {"within": "1h", "all_of": ["a:alert"]}
    values = {key: tomllib.loads(f"x = {cell}")["x"] for key, cell in defaults.items()}
    assert set(defaults) == {"level", "hides", "hold", "cooldown", "post"}
    assert CompositeTable(**needed, **values) == CompositeTable(**needed)  # pyright: ignore


def test_the_page_on_configuration_has_every_metric() -> None:
    text = text_of("docs/configuration.md")
    rows = re.search(r"<!-- metrics -->\n(.*?)\n<!-- /metrics -->", text, re.DOTALL)
    scope_by_form = dict(
        re.findall(r"^\| `([^`]+)` \| (\w+) \|", rows[1] if rows else "", re.MULTILINE)
    )
    assert set(scope_by_form) == set(METRICS)
    places = {
        "<duration>": "1h", "<bp>": "25", "<state>": "reset", "<coin>": "usdt", "<name>": "layer2",
    }  # fmt: skip
    for form, scope in scope_by_form.items():
        name = re.sub("<[a-z]+>", lambda place: places[place[0]], form)
        assert scope in metric(name).scopes, form


def test_the_page_on_commands_has_every_command_and_who_may() -> None:
    rows = re.findall(r"^\| `/(\w+) ?([^`]*)` \| (.*?) \|", text_of("docs/commands.md"), re.M)
    listed = [(name, usage, who) for name, usage, who in rows]
    wanted = [
        (s.name, s.usage, "changes" if s.changes else "asks, in private" if s.own else "asks")
        for s in SPECS.values()
    ]
    assert sorted(listed) == sorted(wanted)


def examples() -> list[str]:
    """The blocks of configuration in README.md and docs/configuration.md that have rules."""
    blocks = FENCE.findall(text_of("README.md")) + FENCE.findall(text_of("docs/configuration.md"))
    return [text for language, text in blocks if language == "toml" and "[rules." in text]


@pytest.mark.parametrize("text", examples())
def test_examples_of_rules_are_valid(text: str, tmp_path: Path) -> None:
    markets = '[markets]\nvenues = ["binance"]\nmajors = ["BTC"]\nlarge = ["SOL"]\n'
    path = tmp_path / "config.toml"
    path.write_text(text if "[markets]" in text else markets + text)
    settings = load(path, {"TELEGRAM_BOT_TOKEN": TOKEN})
    assert settings.rules
    assert warnings(settings) == []


def test_examples_of_rule_tests_pass(tmp_path: Path) -> None:
    blocks = FENCE.findall(text_of("docs/configuration.md"))
    text = "".join(block for _, block in blocks if "[[test]]" in block)
    path = tmp_path / "config.toml"
    path.write_text(text_of("config.toml") + text)
    settings = load(path, {})
    outcomes = run_all(settings.tests, settings)
    assert len(outcomes) == text.count("[[test]]") > 1
    assert all(outcome.passed for outcome in outcomes), report(outcomes)


def test_normalisation_explains_every_field_and_venue() -> None:
    text = text_of("NORMALISATION.md")
    fields = {field for event in EVENTS for field in event.__struct_fields__}
    named = set(spans(text))
    assert fields - named == set()
    assert [venue.SPEC.title for venue in VENUES.values() if venue.SPEC.title not in text] == []


def test_documentation_checks_see_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = (
        "`streams/no_such.py` `no_such.py` `[chanel]` `telegram.api_ulr` `make dance`\n"
        "```\nstreams/\n  nowhere.py   a file\n$ lowtide dance\n```\n"
        '```toml\n[markets]\nvenue = ["binance"]\n```\n'
    )
    assert [n for n in paths(wrong) if not exists(n)] == [
        "streams/no_such.py",
        "no_such.py",
        "nowhere.py",
    ]
    unknown = {".".join(key) for key in config_keys(wrong) if not known_key(key)}
    assert unknown == {"chanel", "telegram.api_ulr", "markets.venue"}
    assert commands(wrong) == [("make", "dance"), ("lowtide", "dance")]
    assert "dance" not in make_targets()
    assert not is_command("dance", capsys)


def venue_table() -> str:
    """Venues and what their public feeds give, as the README must show it."""
    kinds = [kind.replace("_", " ") for kind in Kind]
    rows = [["venue", *kinds, "open interest counts"], ["---"] * (len(Kind) + 2)]
    words = {1: "one side", 2: "both sides, halved here", None: "unknown: in percent only"}
    for venue in VENUES.values():
        spec = venue.SPEC
        possible = SPOT_KINDS if spec.spot else frozenset(Kind)
        marks = [
            "✓" if kind in spec.kinds else "not available" if kind in possible else "none: spot"
            for kind in Kind
        ]
        counts = "none: spot" if spec.spot else words[spec.open_interest.counted]
        rows.append([spec.title, *marks, counts])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def venue_details() -> str:
    """How far the feeds of each venue go, what it tells of the past, and on how many recorded
    frames its adapter was tried, as the README must show it."""
    rows = [
        ["venue", "funding paid each", "books", "liquidations", "told of the past",
         "recorded frames"],
        ["---"] * 6,
    ]  # fmt: skip
    for name, venue in VENUES.items():
        spec = venue.SPEC
        hours = "interval of the contract" if spec.funding_hours is None else None
        paid = "none: spot" if spec.spot else hours or f"{spec.funding_hours:g} h"
        kinds = {history.kind for history in venue.histories(contracts(name, "BTC"))}
        past = ", ".join(kind.replace("_", " ") for kind in Kind if kind in kinds) or "nothing"
        frames = recorded_frames(name)
        rows.append([spec.title, paid, spec.book, liquidations_in_words(spec), past, f"{frames:,}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def liquidations_in_words(spec: Spec) -> str:
    """How complete they are."""
    if spec.spot:
        return "none: spot"
    if Kind.LIQUIDATION not in spec.kinds:
        return "not available"
    if spec.throttles_liquidations:
        return "one a contract and second at most"
    words = {
        True: "all, by its documentation",
        False: "some are left out",
        None: "nobody says whether all",
    }
    return words[spec.all_liquidations]


EXAMPLES = ("doc_", "jkorf_", "gct_", "nautilus_", "xchange_")
"""Files that are, or mix what was captured with, examples of documentation."""


def recorded_frames(venue: str) -> int:
    """Of how many frames that somebody received the golden events are here."""
    count = 0
    for file in READ[venue]:
        name = re.sub(r"\.jsonl?(\.gz)?$", "", file)
        if not file.startswith(EXAMPLES):
            text = text_of(f"tests/streams/golden/recorded/{venue}/{name}.jsonl")
            digest = text.startswith('{\n "lines"')
            count += json.loads(text)["lines"] if digest else text.count("\n")
    return count


@pytest.mark.parametrize(
    ("mark", "table"), [("venues", venue_table), ("venues in detail", venue_details)]
)
def test_readme_shows_what_each_venue_gives(mark: str, table: Callable[[], str]) -> None:
    between = rf"<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->"
    match = re.search(between, text_of("README.md"), re.DOTALL)
    shown, expected = match[1].strip() if match else "", table()
    assert shown == expected, f"put this between the two marks in README.md:\n{expected}"


def procfile() -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text_of("Procfile").splitlines())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("where", [".venv", "PATH"])
def test_the_procfile_starts_each_role_without_an_activated_environment(
    role: str, where: str, tmp_path: Path
) -> None:
    """As process managers do: a shell in the folder of the Procfile. On a platform there is no
    .venv, and the PATH is the environment's."""
    path = "/usr/bin:/bin"
    if where == ".venv":
        (tmp_path / ".venv").symlink_to(sys.prefix)
    else:
        path = f"{Path(sys.executable).parent}:{path}"
    (tmp_path / "config.toml").write_text("wrong = 1\n")
    done = subprocess.run(
        ["/bin/sh", "-c", procfile()[role]], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={"PATH": path, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "config.toml:1: wrong: unknown key" in done.stderr


def test_the_procfile_has_the_three_roles() -> None:
    assert tuple(procfile()) == ROLES
    for role, command in procfile().items():
        assert shlex.split(command)[-4:] == ["python", "-m", "bot", role]


def test_no_trace_of_a_machine_and_no_secret() -> None:
    """The words are put together here, so that this file passes too."""
    banned = [f"/{name}/" for name in ("work", "root", "tmp/tools")]
    banned += [".".join(host) for host in (("pypi", "org"), ("pythonhosted", "org"))]
    banned += [".".join(host) for host in (("deb", "debian", "org"), ("npmjs", "org"))]
    token = re.compile(r"\d{8,10}:[\w-]{35}")
    for file in files():
        data = (ROOT / file).read_bytes()
        if b"\0" in data:
            continue
        text = data.decode("utf-8", "replace")
        assert [word for word in banned if word in text] == [], file
        assert not token.search(text), f"{file} holds what looks like a bot token"


LOCKS = {"requirements.lock": "build", "requirements-dev.lock": "dev"}
"""Each lock, and the group of pyproject.toml that it holds beside what running needs."""


def wanted_packages(group: str) -> list[Requirement]:
    project = tomllib.loads(text_of("pyproject.toml"))
    lines: list[str] = project["project"]["dependencies"]
    for entry in project["dependency-groups"][group]:
        if isinstance(entry, dict):
            lines = lines + project["dependency-groups"][entry["include-group"]]
        else:
            lines = [*lines, entry]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(("name", "group"), LOCKS.items())
def test_a_lock_has_every_package_and_no_url(name: str, group: str) -> None:
    lock = text_of(name)
    assert "://" not in lock
    pinned = pins(lock)
    for wanted in wanted_packages(group):
        assert wanted.name in pinned, f"{wanted.name} is missing: run make lock"
        for version in pinned[wanted.name]:
            assert version in wanted.specifier, f"{wanted} is not what is locked: run make lock"
    assert [package for package, versions in pinned.items() if not all(versions.values())] == []


def test_developers_have_what_runs_and_who_runs_it_has_no_developers_tools() -> None:
    running, all_packages = (pins(text_of(name)) for name in LOCKS)
    assert {package: all_packages.get(package) for package in running} == running
    tools = {wanted.name for wanted in wanted_packages("dev")}
    tools -= {wanted.name for wanted in wanted_packages("build")}
    assert running.keys() & tools == set()


@pytest.mark.parametrize(
    ("target", "developer"),
    [("run", False), ("demo", False), ("send-test", False), ("check", True), ("test", True)],
)
def test_make_installs_what_a_target_needs(target: str, developer: bool, tmp_path: Path) -> None:
    """Of a fresh clone: what would be done, without doing it."""
    for name in ("Makefile", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True, env=env
    )
    assert "-r requirements.lock" in done.stdout
    assert ("-r requirements-dev.lock" in done.stdout) is developer


FORBIDDEN = {
    "bot > rules > streams": ("streams.feed.client", "rules.engine"),
    "packages of bot, from the command line down to words": (
        "bot.messages.render",
        "bot.roles.run",
    ),
    "a venue live and Redis do not know each other, and neither names a venue": (
        "streams.bus.lease",
        "streams.venues",
    ),
    "venue adapters do not know each other": ("streams.venues.bybit", "streams.venues.binance"),
    "context sources do not know each other": (
        "streams.sources.kalshi",
        "streams.sources.polymarket",
    ),
    "the inside of streams is pure": ("streams.feed.session", "asyncio"),
    "rules are pure": ("rules.engine", "random"),
    "of streams, rules know the events and the lengths of time only": (
        "rules.rule",
        "streams.bus.connection",
    ),
    "who is told what, and in which words, is decided without I/O": ("bot.plan.planner", "redis"),
    "answers are made without I/O, but for the looking up and the talking to Telegram": (
        "bot.commands.why",
        "aiohttp",
    ),
    "sockets and HTTP have eight places": ("bot.delivery.store", "websockets"),
    "Telegram is one sink among others": ("bot.status", "telegram"),
    "pydantic reads config.toml and nothing else": ("bot.metriclog", "pydantic"),
    "running roles read no history": ("bot.roles.streams", "numpy"),
    "what makes a PNG is held by the process of one picture alone": (
        "bot.pictures.maker",
        "resvg_py",
    ),
    "what is exported is made from the roles' status, in one place": (
        "bot.roles.streams",
        "prometheus_client",
    ),
}
"""An import that each contract of pyproject.toml must refuse."""


def broken_contracts(tree: Path) -> dict[str, str]:
    """Each contract that lint-imports finds broken in a tree, and what it says of it."""
    lint = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(lint, cwd=tree, capture_output=True, text=True, check=False)
    _, _, details = done.stdout.partition("Broken contracts")
    sections = re.split(r"^(.+)\n-{3,}$", details, flags=re.MULTILINE)[1:]
    broken = dict(zip(sections[::2], sections[1::2], strict=True))
    assert bool(broken) == bool(done.returncode), done.stdout + done.stderr
    return broken


def tree_of_packages(folder: Path) -> Path:
    for package in ROLES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.gz")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_each_import_contract_bites(tmp_path: Path) -> None:
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    assert [contract["name"] for contract in contracts] == list(FORBIDDEN)
    tree = tree_of_packages(tmp_path)
    for importer, imported in FORBIDDEN.values():
        path = tree / importer.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        with path.open("a") as file:
            file.write(f"\nimport {imported}\n")
    broken = broken_contracts(tree)
    for name, (importer, imported) in FORBIDDEN.items():
        assert f"{importer} -> {imported} (l." in broken.get(name, ""), name


def test_a_module_without_a_place_breaks_the_layers(tmp_path: Path) -> None:
    tree = tree_of_packages(tmp_path)
    (tree / "bot" / "stray.py").write_text("")
    broken = broken_contracts(tree)
    assert list(broken) == ["packages of bot, from the command line down to words"]
    assert "bot.stray" in broken.popitem()[1]


def test_the_pictures_of_a_channel_show_the_golden_texts():
    """Made by ``python -m tests.channel_picture docs``."""
    assert set(channel_picture.CHANNEL) == set(LANGUAGES)
    for language in LANGUAGES:
        drawn = channel_picture.picture(language)
        path = ROOT / "docs" / channel_picture.file_name(language)
        assert path.read_text(encoding="utf-8") == drawn
        assert f"docs/{path.name}" in text_of("README.md")


def packages() -> dict[str, str]:
    """Each package that holds code, with the first sentence of its ``__init__``."""
    sentences: dict[str, str] = {}
    for top in ("streams", "rules", "bot"):
        for path in sorted((ROOT / top).rglob("__init__.py")):
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            sentences[f"{path.parent.relative_to(ROOT)}/"] = doc.partition("\n")[0]
    return sentences


def test_architecture_has_a_sentence_for_each_package() -> None:
    rows = re.findall(r"^\| `((?:streams|rules|bot)/[a-z_/]*)` \| (.+) \|$",
                      text_of("ARCHITECTURE.md"), re.MULTILINE)  # fmt: skip
    described = {name: sentence for name, sentence in rows if name in packages()}
    assert described.keys() == packages().keys()
    for name, sentence in packages().items():
        assert sentence and sentence.startswith(described[name].rstrip("."))


def test_a_name_is_one_class() -> None:
    """Public classes have names of their own, so that a name says one thing everywhere."""
    places: dict[str, list[str]] = {}
    for top in ("streams", "rules", "bot"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert len(places) > 200
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


NAMES_OF_SEVERAL = {
    "a step of a life, said with its module's name (planner.dump, silences.dump)": (
        "decode", "dump", "encode", "load", "next_due", "parsed", "read", "ready", "record",
        "report", "run", "set_back", "show", "step", "tune",
    ),
    "how a module writes what it has, said with its name (report.text)": (
        "describe", "first_line", "in_words", "named", "number", "plain", "share",
        "shown", "text",
    ),
    "what a module takes out of what it was handed, said with its name (wire.price)": (
        "blocks", "chats", "duration", "families", "judged", "left_out",
        "liquidation", "moment", "observed", "open_episodes", "open_interest", "price", "redis_url",
        "refusal", "subscriptions",
    ),
}  # fmt: skip
"""Names of public functions that several modules have, and why; a new one needs a reason too."""


def test_a_name_is_one_function() -> None:
    """A public function has a name of its own. Adapters share those of the contract, which
    ``streams/venue.py`` has; methods are said with their object."""
    places: dict[str, list[str]] = {}
    for top in ("streams", "rules", "bot"):
        for path in sorted((ROOT / top).rglob("*.py")):
            if path.stem.replace("_", "-") in VENUES and path.parent.name == "venues":
                continue
            if path.stem in SOURCES and path.parent.name == "sources":
                continue
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                if function and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert len(places) > 300
    several = {name for names in NAMES_OF_SEVERAL.values() for name in names}
    twins = {name: where for name, where in places.items() if len(where) > 1}
    assert {name: where for name, where in twins.items() if name not in several} == {}
    assert several - twins.keys() == set(), "each is the name of one function now: take it out"


OF_ONE_VENUE = (
    "streams/venues/",
    "streams/sources/",
    "bot/demo/",
    "bot/history/",
    "bot/backtest/archive.py",
)
"""Where a venue may be named: adapters, the demo's three, the archive of one."""


def test_no_code_knows_a_venue_or_a_source_by_its_name() -> None:
    """What differs between venues is a value of their SPEC, or comes with their events."""
    named = [
        f"{path}:{node.lineno}: {node.value}"
        for path in files()
        if path.suffix == ".py" and path.parts[0] in ROLES
        if not str(path).startswith(OF_ONE_VENUE)
        for node in ast.walk(ast.parse(text_of(str(path))))
        if isinstance(node, ast.Constant) and node.value in (*VENUES, *SOURCES)
    ]
    assert named == []


VAGUE = {"one", "found", "told", "said", "made", "given", "some", "thing"}
"""Names that do not say what they are of. A local name carries the type of what it holds."""


def vague_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What ``tree`` gives a name that is VAGUE: values, parameters and functions, with their lines.

    Fields are not among them: what one holds stands beside it. Nor is what was imported.
    """
    fields = {
        id(field.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if id(node) not in fields:
                pass
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                pass
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                pass
            case _:
                continue
        if name in VAGUE:
            yield name, node.lineno


@pytest.mark.parametrize(
    "text",
    [
        "def f(one): pass", "async def f(*said): pass", "lambda *, told: 0", "def given(): pass",
        "[0 for made in ()]", "with f() as some: pass", "a, (b, *found) = f()", "(thing := 1)",
        "match x:\n  case [*one]: pass", "try: pass\nexcept E as found: pass",
        "match x:\n  case [1, *_] as said: pass",
        "class A:\n  def told(self): pass",
    ],
)  # fmt: skip
def test_what_is_vague_is_noticed(text: str) -> None:
    assert [*vague_names(ast.parse(text))]


@pytest.mark.parametrize("text", ["class A:\n  told: int", "from hypothesis import given", "one.x"])
def test_fields_and_what_others_named_are_let_be(text: str) -> None:
    assert [*vague_names(ast.parse(text))] == []


@pytest.mark.parametrize("package", ["bot", "rules", "streams", "tests"])
def test_local_names_say_what_they_are_of(package: str) -> None:
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(paths) > 20
    vague = [
        f"{path}:{line}: {name}"
        for path in paths
        for name, line in vague_names(ast.parse(text_of(str(path))))
    ]
    assert vague == []


ASSERTS = re.compile(r"(check|expect|assert)(_|$)|raises$|fail$")
"""A helper that asserts says so in its name."""


def hidden_types(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Classes with a field or method that has the name of a type in their own annotations: Python
    3.14 reads annotations when the class is whole, and finds the field."""
    for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        own, annotations = set[str](), list[ast.expr | None]()
        for node in cls.body:
            match node:
                case ast.AnnAssign(target=ast.Name(id=name)):
                    own.add(name)
                    annotations.append(node.annotation)
                case ast.Assign(targets=[ast.Name(id=name)]):
                    own.add(name)
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    own.add(node.name)
                    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                    annotations += [node.returns, *(argument.annotation for argument in arguments)]
        read = (part for whole in annotations if whole is not None for part in ast.walk(whole))
        for name in sorted(own & {part.id for part in read if isinstance(part, ast.Name)}):
            yield cls.name, name


def test_a_field_that_hides_a_type_is_noticed() -> None:
    fields = "class A:\n    list: list[int]\n    size: int\n"
    methods = "class B:\n    def set(self, x: set[int]) -> int: ...\nclass C:\n    list: bytes\n"
    assert [*hidden_types(ast.parse(fields + methods))] == [("A", "list"), ("B", "set")]


@pytest.mark.parametrize("package", ["bot", "rules", "streams", "tests"])
def test_no_field_hides_a_type(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    hidden = [
        (path.name, *which)
        for path in modules
        for which in hidden_types(ast.parse(path.read_text()))
    ]
    assert hidden == []


def asserts(test: ast.AST) -> bool:
    """Whether it can be seen in a test what would make it fail."""
    calls = (node.func for node in ast.walk(test) if isinstance(node, ast.Call))
    names = (getattr(func, "attr", getattr(func, "id", "")) for func in calls)
    return any(isinstance(node, ast.Assert) for node in ast.walk(test)) or any(
        ASSERTS.match(name) for name in names
    )


def test_each_test_asserts_something_that_can_be_seen() -> None:
    tests = [
        (f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}", asserts(node))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_")
    ]
    assert len(tests) > 2_000
    assert [where for where, seen in tests if not seen] == []


def test_the_tree_of_tests_mirrors_the_source() -> None:
    """Each folder of tests below a package's is a package; each test file is named after a module,
    a package, or a thing that several of them make together, which is named here."""
    together = {
        "bot/backtest": {"agreement", "defaults", "hindsight", "input", "judged", "metriclog"},
        "bot/commands": {"commands"},
        "bot/config": {"config"},
        "bot/delivery": {"telegram_chaos"},
        "bot/delivery/sinks": {"sinks", "telegram_emulator"},
        "bot/demo": {"story"},
        "bot/messages": {"messages"},
        "bot/roles": {"roles", "pipeline", "releases", "set_back"},
        "bot": {
            "main",
            "storm",
            "released",
            "scenarios",
            "rules",
            "crash_day",
            "worst",
            "answer_numbers",
        },
        "rules": {"properties", "held_normal", "released", "set_back"},
        "rules/metrics": {"metrics"},
        "streams": {"bulkheads"},
        "streams/sources": {"sources"},
        "streams/venues": {"inverse", "venues", "venues_recorded"},
    }
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        folder = path.parent.relative_to(ROOT / "tests").as_posix()
        if folder in (".", "seams", "gates", "simulate") or folder.startswith("bot/scenarios"):
            continue
        assert (ROOT / folder).is_dir(), f"tests/{folder} mirrors no package"
        modules = {module.stem for module in (ROOT / folder).glob("*.py")}
        name = path.stem.removeprefix("test_")
        known = name in modules or any(name.startswith(f"{module}_") for module in modules)
        assert known or name in together.get(folder, set()), f"tests/{folder}/{path.name}"


def questions() -> list[tuple[str, str, str]]:
    """The rows of CONTRIBUTING.md: what to change, in which file, and what it is called there."""
    _, _, table = text_of("CONTRIBUTING.md").partition("## Where would you change …")
    return re.findall(r"^\| (.+?) \| `([^`]+)` \| `([^`]+)` \|$", table.partition("\n## ")[0], re.M)


def test_a_newcomer_finds_the_place() -> None:
    rows = questions()
    assert len(rows) >= 20
    for change, file, name in rows:
        assert (ROOT / file).is_file(), f"{change}: there is no {file}"
        if not file.endswith(".py"):
            assert re.search(rf"^{re.escape(name)}$", text_of(file), re.MULTILINE), change
            continue
        body: list[ast.stmt] = ast.parse(text_of(file)).body
        for part in name.split("."):
            defined = {getattr(node, "name", None): node for node in body}
            for node in body:
                targets = node.targets if isinstance(node, ast.Assign) else []
                targets += [node.target] if isinstance(node, ast.AnnAssign) else []
                defined |= {target.id: node for target in targets if isinstance(target, ast.Name)}
            assert part in defined, f"{change}: {file} has no {name}"
            body = getattr(defined[part], "body", [])


def layers() -> str:
    """The packages as pyproject.toml lets them import each other: each row those below it."""
    tool = tomllib.loads(text_of("pyproject.toml"))["tool"]
    contracts = {contract["name"]: contract for contract in tool["importlinter"]["contracts"]}
    inside = contracts["packages of bot, from the command line down to words"]["layers"]
    apart = contracts["a venue live and Redis do not know each other, and neither names a venue"]
    events = contracts["of streams, rules know the events and the lengths of time only"]
    known = [path.rpartition("streams.")[2] for path in events["ignore_imports"]]
    rooms = {
        "bot": [row.replace(" : ", " · ") for row in inside],
        "rules": [f"of streams: {', '.join(known)} only"],
        "streams": [" | ".join(module.removeprefix("streams.") for module in apart["modules"])],
    }
    lines: list[str] = []
    for room in contracts["bot > rules > streams"]["layers"]:
        width = 72
        lines.append(f"┌─ {room}/ {'─' * (width - len(room) - 4)}┐")
        lines += [f"│ {row.center(width - 2)} │" for row in rooms[room]]
        lines.append(f"└{'─' * width}┘")
    return "\n".join(lines)


def test_the_picture_of_packages_is_that_of_the_contracts() -> None:
    drawn = re.search(
        r"<!-- packages -->\n```\n(.*?)\n```\n<!-- /packages -->",
        text_of("ARCHITECTURE.md"),
        re.DOTALL,
    )
    expected = layers()
    shown = drawn[1] if drawn else ""
    assert shown == expected, f"put this between the two marks in ARCHITECTURE.md:\n{expected}"
