"""A command → its answer, if the asker may have it."""

from collections.abc import Callable, Mapping

from bot.commands import changing, chart, macro, market, overview, regime, sectors, why
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
    "market": market.whole_market,
    "macro": macro.macro,
    "regime": regime.regime,
    "sectors": sectors.sectors,
    "chart": chart.chart,
    "why": why.why,
    "silence": changing.silence_,
    "unsilence": changing.unsilence,
    "pause": changing.pause_,
    "resume": changing.resume,
    "test": changing.test,
    "subscribe": changing.subscribe,
    "unsubscribe": changing.unsubscribe,
    "subscriptions": changing.subscriptions,
}


def answer(command: Command | Mistake, context: Context) -> Answer:
    """The answer, with what is to be done first. Who may not ask has been refused by ``denied``."""
    if isinstance(command, Mistake):
        return only(context.say(command.phrase, **command.values))
    return _ANSWERS[command.name](command, context)


def denied(command: Command | Mistake, context: Context) -> tuple[Denial, Answer] | None:
    """Why the asker gets no answer to ``command``, and what they get; None: they may ask."""
    operators, asker = context.settings.operators, context.asker
    if isinstance(command, Mistake):
        strange = asker.user not in operators.users and not operators.everyone
        denial = Denial.STRANGER if strange else None
    else:
        denial = refusal(command.spec, asker, operators)
    if denial is None:
        return None
    return denial, only(context.say(denial.value, user=str(asker.user)))
