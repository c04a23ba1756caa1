"""The operator's own file, changed by a command: comments and layout stay, all of it or nothing."""

import codecs
import errno
import fcntl
import os
import re
import stat
import tomllib
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Array

from bot.config import ConfigError, Settings, load
from bot.config.environment import environment
from bot.config.reload import Rejected, change_summary, checked
from bot.config.schema import keys_at
from bot.config.source import SHIPPED, home, own_file

_KEY_PART = re.compile(r"""([\w-]+)|"([^"\n]+)"|'([^'\n]+)'""")


def document_at(path: Path) -> tomlkit.TOMLDocument:
    """The operator's file, or the beginning of one that lies on the shipped configuration."""
    text = path.read_text(encoding="utf-8-sig") if path.exists() else 'extends = "shipped"\n'
    return tomlkit.parse(text)


def table_at(
    document: tomlkit.TOMLDocument, path: Sequence[str], *, inline: bool
) -> MutableMapping[str, object]:
    """The table at ``path``, made with those around it if it is not there; ``inline``: in one line.

    ValueError where something else is there.
    """
    table = cast("MutableMapping[str, object]", document)
    for n, name in enumerate(path):
        last = n == len(path) - 1
        if name not in table:
            table[name] = (
                tomlkit.inline_table()
                if last and inline
                else tomlkit.table(is_super_table=not last and not (inline and n == len(path) - 2))
            )
        inner = table[name]
        if not isinstance(inner, MutableMapping):
            raise ValueError(f"{'.'.join(path[: n + 1])} is no table")
        table = cast("MutableMapping[str, object]", inner)
    return table


def replace(
    path: Path, text: str, env: Mapping[str, str], wrong: Callable[[Settings], str]
) -> None:
    """All of it or nothing: a running Lowtide takes changes over at once. Where ``path`` is a link,
    what it leads to is written; lines end as they did.

    Raises ConfigError where ``text`` is no configuration, ValueError where ``wrong`` says something
    about it. OSError as usual.
    """
    path = path.resolve()
    if path.exists() and not path.stat().st_mode & stat.S_IWUSR:
        raise ValueError(f"{path} is read-only for its owner, and nothing was written")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    before = path.read_bytes() if path.exists() else b""
    file = NamedTemporaryFile(  # noqa: SIM115  # removed below, whatever becomes of it
        "w", dir=path.parent, suffix=".toml", delete=False,
        encoding="utf-8-sig" if before.startswith(codecs.BOM_UTF8) else "utf-8",
        newline="\r\n" if b"\r\n" in before else "\n",
    )  # fmt: skip
    new = Path(file.name)
    try:
        try:
            with file:
                file.write(text)
        except OSError as error:  # which names no file: the disk is full
            raise OSError(error.errno, error.strerror, str(path)) from error
        if reason := wrong(load(new, env)):
            raise ValueError(reason)
        if path.exists():
            new.chmod(path.stat().st_mode)
        new.replace(path)
    except ConfigError as error:
        lines = str(error).replace(new.name, path.name).splitlines()
        old = before.decode("utf-8-sig", errors="replace")
        raise ConfigError([_in_old_lines(line, path, old, text) for line in lines]) from None
    finally:
        new.unlink(missing_ok=True)


def _in_old_lines(sentence: str, path: Path, old: str, new: str) -> str:
    """``sentence`` about a line of ``new``, with the line that it was in ``old``, which ``path``
    still has; where it was none, without a line."""
    match = re.match(rf"{re.escape(str(path))}:(\d+)", sentence)
    if match is None:
        return sentence
    at, about = int(match[1]) - 1, sentence[match.end() :]
    matcher = SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    for _, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if new_from <= at < new_to and old_to - old_from == new_to - new_from:
            return f"{path}:{old_from + at - new_from + 1}{about}"
    return f"{path}{about}"


def settable_keys() -> list[str]:
    """Keys for a shell to complete: those of each table, and those that the shipped rules have."""
    lists = ("chats", "webhooks", "messengers", "test", "rules")
    tables = [name for name in keys_at(()) if name not in (*lists, "extends", "venues")]
    own = [f"{table}.{key}" for table in tables for key in keys_at((table,))]
    return [*own, *_dotted(tomllib.loads(SHIPPED.read_text("utf-8")).get("rules", {}), "rules")]


def _dotted(table: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _dotted(cast("Mapping[str, Any]", value), f"{path}.{key}")
        else:
            yield f"{path}.{key}"


def set_key(settings: Settings, key: str, value: str, env: Mapping[str, str]) -> str:
    """Writes one key into the operator's own file; what changed, in words.

    ``key``: dotted, such as ``rules.oi_drop.majors.alert``. ``value``: as in the file; text needs
    no quotes. Raises ValueError or ConfigError, and writes nothing, where that cannot be.
    """
    path = own_file(settings.path)
    *tables, name = _parts(key)
    if not tables and name != "extends":
        raise ValueError(f"{key} is a table: name a key in it, or edit {path.name}")
    with _alone(path):
        try:
            document = document_at(path)
            table = table_at(document, tables, inline=_is_row(tables))
        except TOMLKitError as error:
            raise ValueError(f"{path.name} cannot be read: {error}") from None
        if isinstance(table.get(name), MutableMapping | AoT):
            raise ValueError(f"{key} is a table: name a key in it, or edit {path.name}")
        table[name] = _value(value)
        own_env = environment(env, home(path))
        replace(path, tomlkit.dumps(document), own_env, lambda _: "")
    try:
        after, tests = checked(path, env)
    except Rejected as error:
        return (
            f"{key} = {value} is written to {path.name}, which is not used as it is now:\n{error}"
        )
    changed = change_summary(settings, after, tests)
    changed = changed or f"{key} was {value} already."
    gap = "\n" if "\n" in changed else " "  # after warnings, which have a line each
    return f"{changed}{gap}Written to {path}"


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """While inside, nobody else sets a key of this file: one who had read it before would write it
    without ours."""
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _parts(key: str) -> list[str]:
    parts: list[str] = []
    at = 0
    while match := _KEY_PART.match(key, at):
        parts.append(next(part for part in match.groups() if part is not None))
        at = match.end()
        if at == len(key):
            return parts
        if key[at] != ".":
            break
        at += 1
    raise ValueError(f"{key!r} is no key, which looks like channel.posts_per_hour")


def _is_row(tables: Sequence[str]) -> bool:
    """Whether it is a row of levels, of a rule or of one of its windows, which is one line."""
    match tables:
        case ["rules", _, "windows", _, _]:
            return True
        case ["rules", _, row]:
            return row != "windows"
        case _:
            return False


def _value(text: str) -> Any:
    try:
        value = tomlkit.value(text)
    except TOMLKitError:
        return text
    return value if isinstance(value, Array) else value.unwrap()
