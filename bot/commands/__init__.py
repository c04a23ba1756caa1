"""A command → its answer, if the asker may have it."""

from collections.abc import Callable, Mapping

from bot.commands import changing, market, overview, why
from bot.commands.access import Denial, refusal
from bot.commands.context import Answer, Context, only
from bot.commands.parsing import Command, Mistake

_ANSWERS: Mapping[str, Callable[[Command, Context], Answer]] = {
    "start": overview.start,
    "help": overview.help_,
    "status": overview.status,
    "rules": overview.rules,
    "funding": market.market,
    "oi": market.market,
    "depth": market.market,
    "liq": market.market,
    "top": market.top,
    "why": why.why,
    "silence": changing.silence_,
    "unsilence": changing.unsilence,
    "test": changing.test,
    "subscribe": changing.subscribe,
    "unsubscribe": changing.unsubscribe,
    "subscriptions": changing.subscriptions,
}


def answer(command: Command | Mistake, context: Context) -> Answer:
    """What to say, and what to do first. Whoever may not ask is refused by ``denied`` before."""
    if isinstance(command, Mistake):
        return only(context.say(command.phrase, **command.values))
    return _ANSWERS[command.name](command, context)


def denied(command: Command | Mistake, context: Context) -> tuple[Denial, Answer] | None:
    """Why the asker has no answer to ``command``; None: they have."""
    operators, asker = context.settings.operators, context.asker
    if isinstance(command, Mistake):
        strange = asker.user not in operators.users and not operators.everyone
        found = Denial.STRANGER if strange else None
    else:
        found = refusal(command.spec, asker, operators)
    if found is None:
        return None
    return found, only(context.say(found.value, user=str(asker.user)))
