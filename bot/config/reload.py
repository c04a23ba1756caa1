"""A configuration that changes while Lowtide runs: when to look again, and whether it may be used.

A role asks ``ConfigWatch.due`` between two pieces of work, then ``checked`` for the new settings;
on any failure it keeps the old ones and says why.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec

from bot.config import ConfigError, Settings, load, own_tests, ruletests
from bot.config.environment import environment
from bot.config.source import SECTORS, SHIPPED, home, tests_file
from bot.config.values import count, shown
from bot.config.warnings import warnings

EVERY_S = 2.0

_Path = tuple[str, ...]
_Name = Callable[[int, Mapping[str, Any]], str]
"""The name of a table of a list, from its number, counted from 1, and what it holds."""
_Stamp = tuple[tuple[int, int, int] | None, ...]


class Rejected(Exception):
    """The changed configuration cannot be used; ``str()`` says why, a line for each problem."""


class ConfigWatch:
    """Whether a configuration has changed: its file, what it may lie on, the tests beside it.

    A change counts once the files have stayed as they are from one look to the next, so that a
    half-written file is not read. ``ask`` (SIGHUP) makes the next ``due`` true in any case.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._paths = (path, tests_file(path), SHIPPED, SECTORS)
        self._now = now
        self._used = self._seen = self._stamp()
        self._looked = now()
        self._asked = False

    def ask(self) -> None:
        """Somebody wants the configuration to be read again."""
        self._asked = True

    def due(self) -> bool:
        """Whether to read it again. True once for each change; looks every EVERY_S at most."""
        if not self._asked and self._now() - self._looked < EVERY_S:
            return False
        self._looked = self._now()
        before, self._seen = self._seen, self._stamp()
        settled = self._seen == before and self._seen != self._used
        if not (settled or self._asked):
            return False
        self._used, self._asked = self._seen, False
        return True

    def _stamp(self) -> _Stamp:
        return tuple(_stamp(path) for path in self._paths)


_hearing: list[ConfigWatch] = []


@contextmanager
def on_sighup(watch: ConfigWatch) -> Generator[None]:
    """While inside, SIGHUP makes ``watch``, and every other one of this process, look again.

    Afterwards the signal does nothing: it is not meant to end the process, as it would by default.
    """
    loop = asyncio.get_running_loop()
    _hearing.append(watch)
    loop.add_signal_handler(signal.SIGHUP, lambda: [other.ask() for other in _hearing])
    try:
        yield
    finally:
        _hearing.remove(watch)


def checked(path: Path, env: Mapping[str, str]) -> tuple[Settings, int]:
    """The settings in ``path``, valid and with all rule tests passed, and how many tests that were.

    ``env``: the variables of the process. Raises Rejected.
    """
    try:
        settings = load(path, environment(env, home(path)))
        return settings, passed_tests(settings)
    except ConfigError as error:
        raise Rejected(str(error)) from None
    except OSError as error:
        raise Rejected(f"{error.filename}: cannot be read: {error.strerror}") from None


def passed_tests(settings: Settings) -> int:
    """How many rule tests must pass before ``settings`` are used, and did.

    Raises ConfigError where they are faulty, Rejected where they fail.
    """
    tests = own_tests(settings)
    failed = [outcome for outcome in ruletests.run_all(tests, settings) if not outcome.passed]
    if failed:
        raise Rejected(
            "\n".join(_failure(outcome) for outcome in failed)
            + f"\n{settings.path.name} is used when its rule tests pass: lowtide test shows them"
        )
    return len(tests)


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """The sections whose changes take effect only when Lowtide starts again."""
    before, after = _fixed(old), _fixed(new)
    return [name for name in before if before[name] != after[name]]


def with_addresses_of(started: Settings, new: Settings) -> Settings:
    """``new`` with the webhooks and messengers of ``started``, which alone have a way out; of each
    what it gets and how is as in ``new``, if that has it at the same address."""
    webhooks = {(webhook.name, webhook.url): webhook for webhook in new.webhooks}
    messengers = {(messenger.key, messenger.to): messenger for messenger in new.messengers}
    return msgspec.structs.replace(
        new,
        webhooks=tuple(webhooks.get((each.name, each.url), each) for each in started.webhooks),
        messengers=tuple(messengers.get((each.key, each.to), each) for each in started.messengers),
    )


def _fixed(settings: Settings) -> dict[str, tuple[object, ...]]:
    """What is read at the start only, by section."""
    return {
        "markets": (settings.venues, settings.markets),
        "context": (settings.sources, settings.source_urls, settings.series),
        "redis": (settings.redis_url, settings.data_dir, settings.keep, settings.max_mb),
        "metrics": (settings.metrics_keep, settings.metrics_mb),
        "webhooks": (
            [(webhook.name, webhook.url) for webhook in settings.webhooks],
            settings.webhook_secret,
        ),
        "messengers": (
            [(messenger.key, messenger.to) for messenger in settings.messengers],
            settings.messenger_secrets,
        ),
        "delivery": (settings.resend,),
        "telegram": (settings.api_url, settings.token, settings.telegram_proxy),
        "proxies": (settings.proxies,),
        "web": (settings.web, settings.web_token, settings.push_url),
        "logs": (settings.log_format, settings.log_level),
    }


def in_short(settings: Settings, tests: int) -> str:
    """``local.toml, 12 rules, 3 rule tests passed``; of tests, if there are any."""
    rules = len(settings.rules) + len(settings.composites)
    passed = f", {count(tests, 'rule test')} passed" if tests else ""
    return f"{settings.path.name}, {count(rules, 'rule')}{passed}"


def change_summary(
    old: Settings, new: Settings, tests: int, started: Settings | None = None
) -> str:
    """What to say of a configuration that was taken over, "" if nothing has changed.

    ``started``: the settings at the start, which hold for what needs a restart; None: ``old``.
    """
    changed, later = changes(old, new), needs_restart(started or old, new)
    if not changed and not needs_restart(old, new):
        return ""
    more = [f"and {len(changed) - _SHOWN} more"] if len(changed) > _SHOWN else []
    text = f"{in_short(new, tests)}."
    if changed:
        text += f" Changed: {', '.join([*changed[:_SHOWN], *more])}."
    if later:
        text += f" Restart Lowtide for what changed in {', '.join(later)}."
    before = set(warnings(old))
    doubts = [line for line in warnings(new) if line not in before]
    return "\n".join([text, *(f"Warning: {line}" for line in doubts[:_SHOWN])])


_SHOWN = 8
"""So many changes and warnings are named; no message holds a whole file."""

_WITH_VALUES = ("rules", "defaults", "markets", "channel", "metrics", "logs")
"""Sections without secrets. Of others only the key is named: an address may hold a password."""


def changes(old: Settings, new: Settings) -> list[str]:
    """``rules.liq_burst.majors.alert 40 → 45`` for each key that changed; a rule, a window or a
    chat that is new or gone by its name alone."""
    tables = old.source.tables, new.source.tables
    before, after = (dict(_flat(each)) for each in tables)
    lines: list[str] = []
    renamed = _renamed(*(each.get("rules", {}) for each in tables))
    for path in [*before, *(path for path in after if path not in before)]:
        if whole := _renamed_rule(path, renamed) or _new_or_gone(path, *tables):
            if whole not in lines:
                lines.append(whole)
            continue
        was, now = before.get(path), after.get(path)
        if type(was) is type(now) and was == now:
            continue
        if path == ("extends",) and was is None:
            continue  # an operator's first own file
        name = ".".join(path)
        if path == ("chats",):
            lines += _listed("chat", _chat_name, was, now)
        elif path == ("webhooks",):
            lines += _listed("webhook", _webhook_name, was, now)
        elif path == ("messengers",):
            lines += _listed("messenger", _messenger_name, was, now)
        elif path[0] in _WITH_VALUES:
            lines.append(f"{name} {_value(was)} → {_value(now)}")
        else:
            lines.append(name)
    return lines


def _renamed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Rules that are the same under another name: old name → new one."""
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    renamed: dict[str, str] = {}
    for name in gone:
        if same := next((each for each in new if after[each] == before[name]), None):
            renamed[name] = same
            new.remove(same)
    return renamed


def _renamed_rule(path: _Path, renamed: Mapping[str, str]) -> str:
    """The line for a key of a rule that has another name now; "" for any other."""
    if path[0] != "rules" or len(path) < 2:
        return ""
    name = path[1]
    pair = next((pair for pair in renamed.items() if name in pair), None)
    return f"rule {pair[0]} is {pair[1]} now and its episodes begin anew" if pair else ""


def _new_or_gone(path: _Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The line for a key of a rule or window that only one of the two has; "" for any other."""
    if path[0] != "rules" or len(path) < 2:
        return ""
    ends = [2, 4] if len(path) > 4 and path[2] == "windows" else [2]
    for end in ends:
        name = path[end - 1]
        had, has = (name in _inner(tables, path[: end - 1]) for tables in (before, after))
        if had != has:
            what = f"rule {name}" if end == 2 else f"window {name} of {path[1]}"
            return f"new {what}" if has else f"{what} is gone"
    return ""


def _inner(tables: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    for name in path:
        inner = tables.get(name)
        tables = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    return tables


def _listed(what: str, name_of: _Name, before: object, after: object) -> list[str]:
    """Which tables of a list are new, gone or changed, by name, and in which keys."""
    was, now = _by_name(before, name_of), _by_name(after, name_of)
    lines = [f"new {what} {name}" for name in now if name not in was]
    lines += [f"{what} {name} is gone" for name in was if name not in now]
    for name in [name for name in now if name in was and was[name] != now[name]]:
        keys = sorted(was[name].keys() | now[name].keys())
        changed = [key for key in keys if was[name].get(key) != now[name].get(key)]
        lines.append(f"{what} {name}: {', '.join(changed)}")
    return lines or [f"{what}s"]


def _by_name(tables: object, name_of: _Name) -> dict[str, dict[str, Any]]:
    listed = cast("list[dict[str, Any]]", tables) if isinstance(tables, list) else []
    return {name_of(number, table): table for number, table in enumerate(listed, start=1)}


def _webhook_name(number: int, table: Mapping[str, Any]) -> str:
    return str(table.get("name") or number)


def _messenger_name(_number: int, table: Mapping[str, Any]) -> str:
    name = table.get("name")
    return f"{table.get('service')}:{name}" if name else str(table.get("service"))


def _chat_name(_number: int, table: Mapping[str, Any]) -> str:
    topic = table.get("topic")
    return str(table.get("id")) if topic is None else f"{table.get('id')} (topic {topic})"


def _value(value: object) -> str:
    """As it is written in the file."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, cast('list[object]', value)))}]"
    return "none" if value is None else shown(value)


def _flat(tables: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[_Path, object]]:
    """Every value that is no table, by its path."""
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _flat(cast("dict[str, Any]", value), (*at, key))
        else:
            yield (*at, key), value


def _failure(outcome: ruletests.RuleTestOutcome) -> str:
    test = outcome.test
    got = ", ".join(map(str, outcome.got)) or "nothing"
    wanted = ", ".join(map(str, test.expect)) or "nothing"
    return f"{test.place}: test {test.name!r} failed: expected {wanted}, got {got}"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
