"""The press of a button under a post → commands, as if the presser had written them. Pure."""

from collections.abc import Sequence

from bot.commands.context import Answer, Context, only
from bot.commands.parsing import SPECS, Command, CommandSpec
from bot.messages.voice import Html
from bot.plan.planner import ButtonAction
from rules.alerts import EpisodeKey

MUTE_FOR = "1h"
_MOST = 5
"""So many rules and assets of one post are muted; an event of the market has more."""


def action_of(data: str | None) -> ButtonAction | None:
    """What the button asks for; None: nothing that is known."""
    return next((action for action in ButtonAction if action == data), None)


def spec_of(action: ButtonAction) -> CommandSpec:
    """The command whose rights the button has."""
    return SPECS["why" if action is ButtonAction.WHY else "silence"]


def commands_of(action: ButtonAction, episodes: Sequence[EpisodeKey]) -> list[Command]:
    """What to do about the ``episodes`` of the post, the worst first; at least one."""
    if action is ButtonAction.WHY:
        return [Command("why", (str(episodes[0]),))]
    subjects = [
        (episode.rule.partition(":")[0], episode.subject)
        for episode in episodes
        if "/" not in episode.subject
    ]
    return [
        Command("silence", (family, asset, MUTE_FOR))
        for family, asset in list(dict.fromkeys(subjects))[:_MOST]
    ]


def together(replies: Sequence[Answer], context: Context) -> Answer:
    """One answer of those to several commands: the first line of each."""
    if not replies:
        return only(context.say("press.nothing"))
    if len(replies) == 1:
        return replies[0]
    orders = [reply.to_operators for reply in replies if reply.to_operators]
    return Answer(
        blocks=tuple(reply.blocks[0] for reply in replies if reply.blocks),
        to_operators=Html("\n".join(orders)),
    )
