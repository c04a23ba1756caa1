"""What ``lowtide init`` writes: a configuration of the operator's own, and ``.env`` beside it.

Nothing is overwritten: a configuration that is there stays as it is, and of a ``.env`` that is
there only the line of the token is filled in or added.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bot.config.markets import asset_problem
from bot.config.source import OWN, SHIPPED, VARIABLE, is_shipped
from bot.init.offers import ChatOffer

SCHEMA = "lowtide.schema.json"
"""Beside the configuration, whose first line names it for editors."""

TOKEN_NAME = "TELEGRAM_BOT_TOKEN"  # noqa: S105  # the variable's name
_PAIRS = re.compile(r"([A-Z0-9]+?)[-_/]?(?:USDT|USDC|USD|PERP)")
_THOUSANDS = re.compile(r"1000+([A-Z]+)")
_EMPTY = re.compile(rf"^(?:export\s+)?{TOKEN_NAME}\s*=[ \t]*(?:#.*)?$", re.MULTILINE)


class InitError(Exception):
    """Why nothing was set up, and what to do, in one sentence."""


class InitAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """What the three questions gave."""

    chat: int | str | None = None
    """The number or @name of the chat; None: messages go to the terminal."""
    about_chat: str = ""
    """What the chat is called; "" where nobody has asked Telegram."""
    coins: tuple[str, ...] = ()
    """The only coins to watch; (): those that are shipped."""
    api_url: str | None = None
    """The Bot API server; None: Telegram's own."""


def own_path(named: Path | None, env: Mapping[str, str]) -> Path:
    """The configuration to write: as ``named``, as the environment says, else in this folder.

    Raises InitError if it is there, or another one that would be used in its place.
    """
    if named is None and (variable := env.get(VARIABLE, "").strip()):
        named = Path(variable)
    shipped = Path(SHIPPED.name)
    own = Path(OWN) if is_shipped(shipped) else shipped
    there = [named] if named is not None else [Path(OWN), *([] if is_shipped(shipped) else [own])]
    for path in there:
        if os.path.lexists(path):
            raise InitError(
                f"{path} is there already, and init overwrites nothing: change it by hand, or name"
                " another file with --config"
            )
    return named or own


def coins_in(text: str) -> tuple[str, ...]:
    """The coins in ``text``, with commas or spaces between them. Raises ValueError."""
    coins = [coin.lstrip("$").upper() for coin in re.split(r"[\s,;]+", text.strip()) if coin]
    for coin in coins:
        pair = _PAIRS.fullmatch(coin) or _THOUSANDS.fullmatch(coin)
        if pair is not None and coin not in ("USD", "USDT", "USDC"):
            raise ValueError(f"{coin} is a contract: write the coin, {pair[1]}")
        if problem := asset_problem(coin):
            raise ValueError(problem)
    return tuple(dict.fromkeys(coins))


def about(chat: ChatOffer | None) -> str:
    """What is written beside the chat's number."""
    return "" if chat is None else str(chat).removesuffix(f" ({chat.id})")


def config_text(answers: InitAnswers, majors: Sequence[str]) -> str:
    """The configuration. ``majors``: the shipped ones, whose levels are the tightest."""
    return "\n".join(
        [
            f"#:schema ./{SCHEMA}",
            "# Written by lowtide init. It says only what differs from the configuration that",
            "# comes with Lowtide, so an upgrade brings new defaults and touches nothing here.",
            "# lowtide check  says what it means, lowtide show BTC  the numbers for one coin.",
            'extends = "shipped"',
            "",
            *_channel(answers),
            "",
            *_markets(answers.coins, majors),
            "",
            "# [operators]             # who runs this Lowtide",
            "# chat_id = -100…         # a group that is told when a feed is down",
            "# users = [123456789]     # who may silence and test; the bot tells it after /start",
            "",
            "# A level of your own, such as BTC's fall of the price in an hour:",
            "# [rules.price_drop.windows.1h]",
            "# BTC = { alert = -4, critical = -7 }",
            *_telegram(answers.api_url),
            "",
        ]
    )


def _channel(answers: InitAnswers) -> list[str]:
    line = '# chat_id = "@your_channel"   # without it messages go to the terminal'
    if answers.chat is not None:
        line = f"chat_id = {json.dumps(answers.chat)}"
        line += f"   # {answers.about_chat}" if answers.about_chat else ""
    return [
        "[channel]",
        line,
        '# quiet = "23:00-07:00 Asia/Taipei"   # watch waits, alert makes no sound, critical rings',
        "# posts_per_hour = 12           # what is critical always comes",
    ]


def _markets(coins: Sequence[str], majors: Sequence[str]) -> list[str]:
    if not coins:
        return [
            "# [markets]               # as shipped, unless you say otherwise:",
            '# majors = ["BTC", "ETH"]',
            '# large = ["SOL"]',
            '# tail = "next 60 by OI"  # by open interest in USD; "none": only the lists above',
        ]
    tight = [coin for coin in coins if coin in majors]
    return [
        "[markets]                 # a coin is judged by the levels of its list",
        f"majors = {json.dumps(tight)}",
        f"large = {json.dumps([coin for coin in coins if coin not in majors])}",
        'tail = "none"             # "next 60 by OI": the largest others by open interest too',
    ]


def _telegram(api_url: str | None) -> list[str]:
    return [] if api_url is None else ["", "[telegram]", f"api_url = {json.dumps(api_url)}"]


def write_files(path: Path, text: str, token: str | None, schema: str = "") -> list[Path]:
    """Write the configuration, and ``.env`` beside it if there is a ``token`` to keep.

    ``schema``: written beside it too, unless one is there. All or nothing. Returns what was
    written. Raises InitError.
    """
    beside = path.parent / SCHEMA
    new = [(path, text)]
    if schema and not os.path.lexists(beside):
        new.append((beside, f"{schema}\n"))
    created, kept, file = list[Path](), list[Path](), path
    try:
        for file, content in new:
            _write_new(file, content)
            created.append(file)
        if token is not None:
            file = path.parent / ".env"
            kept.append(_keep_token(file, token))
    except OSError as error:
        for path in created:
            path.unlink()
        raise InitError(f"cannot write {file}: {error.strerror}") from None
    return [path, *kept, *created[1:]]


def _write_new(path: Path, text: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError:
        path.unlink()
        raise


def _keep_token(path: Path, token: str) -> Path:
    """Put the token into ``path``, all of it or nothing, so that nobody else can read it."""
    path = path.resolve()
    old = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    line = f"{TOKEN_NAME}={token}"
    text, filled = _EMPTY.subn(lambda _: line, old, count=1)
    if not filled:
        text = f"{old}{'' if not old or old.endswith(chr(10)) else chr(10)}{line}\n"
    number, name = tempfile.mkstemp(dir=path.parent, prefix=".env.")  # 0600
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(number)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink()
        raise
    return path
