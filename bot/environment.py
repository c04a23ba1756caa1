"""The environment: variables, a ``.env`` file beside config.toml, and secrets kept in files."""

import errno
from collections.abc import Mapping
from pathlib import Path

SECRETS = ("TELEGRAM_BOT_TOKEN", "REDIS_URL", "LOWTIDE_WEBHOOK_SECRET")


def environment(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """``env`` with what ``folder/.env`` adds; NAME_FILE stands for a file that holds NAME.

    Variables that are set win over ``.env``. Raises OSError where a file can't be read.
    """
    merged = {**_dotenv(folder / ".env"), **env}
    for name in SECRETS:
        file = merged.get(f"{name}_FILE")
        if file and not merged.get(name):
            merged[name] = _text(Path(file)).strip()
    return merged


def _dotenv(path: Path) -> dict[str, str]:
    try:
        lines = _text(path).splitlines()
    except FileNotFoundError:
        return {}
    pairs: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.removeprefix("export ").partition("=")
        if equals and not name.lstrip().startswith("#"):
            pairs[name.strip()] = value.strip().strip("'\"")
    return pairs


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is not UTF-8 text", str(path)) from None
