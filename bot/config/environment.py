"""The environment: variables, a ``.env`` file beside the configuration, secrets in files."""

import errno
import io
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from bot.config.errors import ConfigError
from bot.config.messengers import MESSENGER_SECRET
from bot.meant import nearest
from streams.proxies import VARIABLES

SECRETS = ("TELEGRAM_BOT_TOKEN", "REDIS_URL", "LOWTIDE_WEBHOOK_SECRET", "LOWTIDE_WEB_TOKEN")

_KNOWN = frozenset(
    {*SECRETS, *(f"{name}_FILE" for name in SECRETS), *VARIABLES, *map(str.lower, VARIABLES)}
)
_FILE = "_FILE"
_ABOUT = re.compile(r"(\w+) \(environment\)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OTHERS = 0o077
_MOST_SECRET_BYTES = 8_192
"""Of a file that holds one secret; the longest known ones have some hundred."""


class Environment(dict[str, str]):
    """Variables by name."""

    def __init__(self, values: Mapping[str, str], places: Mapping[str, Path]) -> None:
        super().__init__(values)
        self.places = places
        """The file of each variable that the process itself did not have."""


def with_place(sentence: str, env: Mapping[str, str]) -> str:
    """``NAME (environment): …`` with the file in place of "environment" if NAME was read in one."""
    match = _ABOUT.match(sentence)
    if match is None or not isinstance(env, Environment):
        return sentence
    names = (match[1].lower(), match[1])  # of a proxy's variables the lower case one wins
    place = next((env.places[name] for name in names if name in env.places), None)
    return sentence if place is None else f"{match[1]} ({place}){sentence[match.end() :]}"


def environment(env: Mapping[str, str], folder: Path) -> Environment:
    """``env`` with what ``folder/.env`` adds; NAME_FILE stands for a file that holds NAME.

    Variables that are set win over ``.env``; one that is set to nothing does not. Raises OSError
    where a file can't be read, ConfigError where a line of ``.env`` is not understood or a file
    holds no secret.
    """
    merged = _dotenv(folder / ".env")
    places = dict.fromkeys(merged, folder / ".env")
    for name, value in env.items():
        if value.strip() or name not in merged:
            merged[name] = value
            places.pop(name, None)
    for name in [*SECRETS, *_messengers_in_files(merged)]:
        file = merged.get(f"{name}{_FILE}")
        if file and not merged.get(name, "").strip():
            if why := _no_secret(Path(file)):
                sentence = f"{name}{_FILE} (environment): {file} {why}"
                raise ConfigError([with_place(sentence, Environment(merged, places))])
            merged[name] = _text(Path(file)).strip()
            places[name] = Path(file)
    return Environment(merged, places)


def _messengers_in_files(env: Mapping[str, str]) -> list[str]:
    """The variables of messengers for which files stand."""
    names = [name.removesuffix(_FILE) for name in env if name.endswith(_FILE)]
    return [name for name in names if MESSENGER_SECRET.fullmatch(name)]


def misspelt(env: Environment) -> list[str]:
    """A sentence for each name in ``.env`` that looks like one that is read, and is not set."""
    sentences: list[str] = []
    for name, path in env.places.items():
        known = name in _KNOWN or MESSENGER_SECRET.fullmatch(name)
        meant = None if known else _meant(name)
        if meant is not None and not env.get(meant, "").strip():
            sentences.append(f"{path}: {name} is not read: write {meant} if that is meant")
    return sentences


def _meant(name: str) -> str | None:
    """The name of which this one is probably a part, or a slip of the pen."""
    words = set(name.upper().split("_"))
    for known in SECRETS:
        if name.upper() == known or (len(words) > 1 and words < set(known.split("_"))):
            return known
    return nearest(name, list(SECRETS), cutoff=0.8)


def open_to_others(folder: Path, data_dir: Path) -> list[str]:
    """A sentence for each of ``folder/.env`` and ``data_dir`` that others on this machine may read.

    Both hold secrets: the token, and subscribers and posts.
    """
    wanted = ((folder / ".env", "600"), (data_dir, "700"))
    return [
        f"{path} is open to others on this machine: chmod {mode} {path}"
        for path, mode in wanted
        if _open(path)
    ]


def _open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False


def _dotenv(path: Path) -> dict[str, str]:
    """NAME → value. The notation is python-dotenv's; a ``$`` stands for itself."""
    try:
        text = _text(path)
    except FileNotFoundError:
        return {}
    bindings = list(parse_stream(io.StringIO(text)))
    if problems := list(_problems(path, bindings)):
        raise ConfigError(problems)
    return {b.key: b.value for b in bindings if b.key is not None and b.value is not None}


def _problems(path: Path, bindings: list[Binding]) -> Iterator[str]:
    """What is not understood, without the text of the line: it may be a secret."""
    for binding in bindings:
        understood = binding.key is None or (
            binding.value is not None
            and "\n" not in binding.value  # a quote that is closed lines below
            and _NAME.fullmatch(binding.key)
        )
        if binding.error or not understood:
            original = binding.original
            skipped = len(original.string) - len(original.string.lstrip())
            line = original.line + original.string[:skipped].count("\n")
            yield (
                f"{path}:{line}: is not understood: write NAME=value, with quotes around a value"
                " that has spaces or # in it"
            )


def _no_secret(path: Path) -> str:
    """Why ``path`` cannot hold a secret, "" if it can. It is looked at before it is opened: a pipe
    or a device would keep us for ever."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return "is a folder: name the file that holds the secret"
    if not stat.S_ISREG(status.st_mode):
        return "is a pipe or a device: name a file that holds the secret"
    if status.st_size > _MOST_SECRET_BYTES:
        return (
            f"has {status.st_size:,} bytes, more than the {_MOST_SECRET_BYTES:,} that are read:"
            " name a file that holds the secret alone"
        )
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is not UTF-8 text", str(path)) from None
