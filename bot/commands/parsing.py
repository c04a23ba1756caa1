"""The text of a message → the command it holds, or what is wrong with it. Pure."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from unicodedata import normalize

import msgspec

from bot.meant import nearest
from streams.coins import present_name
from streams.text import printable

MOST_CHARS = 300
"""A longer text is no command that anybody typed."""


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One command."""

    name: str
    usage: str = ""
    """What follows its name."""
    least: int = 0
    """The least number of words after its name."""
    most: int = 0
    """The greatest number of them."""
    changes: bool = False
    """Whether only operators may use it."""
    own: bool = False
    """Whether it is about the asker, so that it belongs into a private chat."""


SPECS: Mapping[str, CommandSpec] = {
    spec.name: spec
    for spec in (
        CommandSpec(name="status"),
        CommandSpec(name="top"),
        CommandSpec(name="market"),
        CommandSpec(name="macro"),
        CommandSpec(name="regime", usage="[ASSET]", most=1),
        CommandSpec(name="sectors"),
        CommandSpec(name="funding", usage="[ASSET]", most=1),
        CommandSpec(name="oi", usage="[ASSET]", most=1),
        CommandSpec(name="depth", usage="[ASSET]", most=1),
        CommandSpec(name="liq", usage="[ASSET]", most=1),
        CommandSpec(name="chart", usage="ASSET [METRIC] [7d]", least=1, most=3),
        CommandSpec(name="rules"),
        CommandSpec(name="why", usage="[RULE] ASSET", least=1, most=2),
        CommandSpec(name="subscribe", usage="RULE ASSET…", least=2, most=40, own=True),
        CommandSpec(name="unsubscribe", usage="[RULE [ASSET…]]", most=40, own=True),
        CommandSpec(name="subscriptions", own=True),
        CommandSpec(name="help", usage="[WORD]", most=3),
        CommandSpec(name="start", most=1),
        CommandSpec(name="silence", usage="RULE ASSET 6h", least=3, most=3, changes=True),
        CommandSpec(name="unsilence", usage="[RULE ASSET]", most=2, changes=True),
        CommandSpec(name="pause", usage="[30m]", most=1, changes=True),
        CommandSpec(name="resume", changes=True),
        CommandSpec(name="test", changes=True),
    )
}
"""Every command by its name, in the order in which help lists them."""


class Command(msgspec.Struct, frozen=True):
    """A command with the right number of words after it."""

    name: str
    words: tuple[str, ...] = ()

    @property
    def spec(self) -> CommandSpec:
        """Its row in SPECS."""
        return SPECS[self.name]


class Mistake(msgspec.Struct, frozen=True):
    """Something that was meant as a command."""

    phrase: str
    """The key of the phrase that helps."""
    values: Mapping[str, str] = {}
    """What to put into it."""


_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?=\s|$)")


def parse(text: str, me: str | None) -> Command | Mistake | None:
    """What ``text`` asks of the bot whose name is ``me`` (without @).

    None: nothing, it is plain text or for another bot.
    """
    # as a Japanese or Chinese keyboard writes it: ／ｏｉ　ＢＴＣ
    text = normalize("NFKC", text).strip()
    match = _COMMAND.match(text)
    if match is None:
        return Mistake("ask.unknown_bare") if text.startswith("/") else None
    name, other = match[1].lower(), match[2]
    if other is not None and (me is None or other.lower() != me.lower()):
        return None
    if len(text) > MOST_CHARS:
        return Mistake("ask.too_long", {"most": str(MOST_CHARS)})
    spec = SPECS.get(name)
    if spec is None:
        near = nearest(name, list(SPECS))
        if near:
            return Mistake("ask.unknown_near", {"name": name, "near": near})
        return Mistake("ask.unknown", {"name": name})
    # answers show what was asked: nothing in it may turn the text around, or hide
    words = tuple(printable(word, None) for word in text[match.end() :].split())
    if name == "start" and words and (asked := _linked(words[0])) is not None:
        return asked
    if not spec.least <= len(words) <= spec.most:
        return usage(spec)
    return Command(name, words)


_LINK = "chart-"
"""What begins the parameter of a link that asks for a picture."""

_MOST_LINK_CHARS = 64


def link(me: str, chart: Command) -> str:
    """The link that opens the private chat with the bot, and asks for a picture there once its
    reader presses START; "": it would be too long."""
    words = urlsafe_b64encode(" ".join(chart.words).encode()).decode().rstrip("=")
    parameter = f"{_LINK}{words}"
    return f"https://t.me/{me}?start={parameter}" if len(parameter) <= _MOST_LINK_CHARS else ""


def _linked(parameter: str) -> Command | None:
    """The command of ``link``; None: it is none of it, whoever has written it."""
    if not parameter.startswith(_LINK):
        return None
    encoded = parameter.removeprefix(_LINK)
    try:
        text = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return None
    spec = SPECS["chart"]
    words = tuple(printable(word, None) for word in text.split())
    return Command(spec.name, words) if spec.least <= len(words) <= spec.most else None


def usage(spec: CommandSpec) -> Mistake:
    """How the command is written."""
    return Mistake("ask.usage", {"usage": f"/{spec.name} {spec.usage}".strip()})


def asset_of(word: str) -> str:
    """``btc``, ``$BTC`` and ``#BTC`` are BTC, ``matic`` is POL, which it is called now."""
    return present_name(word.lstrip("$#").upper())
