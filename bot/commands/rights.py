"""Who may ask for what. Pure."""

from enum import Enum

from bot.commands.context import Asker
from bot.commands.parsing import SPECS, Spec
from bot.config_chats import OperatorSettings


class Refusal(Enum):
    """Why not; the value is the phrase that says so."""

    STRANGER = "ask.no.stranger"
    CHANGE = "ask.no.change"
    NOT_PRIVATE = "ask.no.not_private"
    NO_SUBSCRIBERS = "ask.no.subscribers"


def refusal(spec: Spec, asker: Asker, operators: OperatorSettings) -> Refusal | None:
    """Why ``asker`` may not use the command; None: they may."""
    listed = asker.user in operators.users
    if not listed and not operators.everyone:
        return Refusal.STRANGER
    if spec.changes and not listed:
        return Refusal.CHANGE
    if spec.own and not operators.subscribers:
        return Refusal.NO_SUBSCRIBERS
    if spec.own and not asker.private:
        return Refusal.NOT_PRIVATE
    return None


def offered(asker: Asker, operators: OperatorSettings) -> tuple[Spec, ...]:
    """The commands that help lists for ``asker``."""
    return tuple(s for s in SPECS.values() if refusal(s, asker, operators) is None)


def menus(operators: OperatorSettings) -> tuple[tuple[Spec, ...], tuple[Spec, ...]]:
    """The commands that Telegram's menu shows: to everyone, and in the operators' chat."""
    nobody = Asker(user=0, name="", private=True)
    public = offered(nobody, operators) or (SPECS["start"],)
    return public, tuple(s for s in SPECS.values() if not s.own)
