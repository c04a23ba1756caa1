"""The environment: variables, a ``.env`` file beside the configuration, secrets in files."""

import errno
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from bot.config.errors import ConfigError

SECRETS = ("TELEGRAM_BOT_TOKEN", "REDIS_URL", "LOWTIDE_WEBHOOK_SECRET")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OTHERS = 0o077


def environment(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """``env`` with what ``folder/.env`` adds; NAME_FILE stands for a file that holds NAME.

    Variables that are set win over ``.env``; one that is set to nothing does not. Raises OSError
    where a file can't be read, ConfigError where a line of ``.env`` is not understood.
    """
    merged = _dotenv(folder / ".env")
    merged |= {name: value for name, value in env.items() if value.strip() or name not in merged}
    for name in SECRETS:
        file = merged.get(f"{name}_FILE")
        if file and not merged.get(name, "").strip():
            merged[name] = _text(Path(file)).strip()
    return merged


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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is not UTF-8 text", str(path)) from None
