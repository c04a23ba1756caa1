"""The press of a button → commands, as if the presser had written them. Pure."""

from collections.abc import Sequence

from bot.commands.context import Answer, Context, only
from bot.commands.parsing import SPECS, Command, CommandSpec
from bot.config import Settings
from bot.lang.words import Words
from bot.messages.render import Button
from bot.messages.voice import Html
from bot.pictures.subject import drawable
from bot.plan.planner import ButtonAction
from bot.plan.subscriptions import ANY
from rules.alerts import EpisodeKey
from streams.durations import DAY, HOUR
from streams.events import Ms

MUTE_FOR = "1h"
_MOST = 5
"""So many rules and assets of one post are muted; an event of the market has more."""

_SPANS = ((20 * HOUR, ""), (2 * DAY, "3d"))
"""How old an event may be, and what its picture shows then; of an older one a week."""


def action_of(data: str | None) -> ButtonAction | None:
    """What the button asks for; None: nothing that is known."""
    return next((action for action in ButtonAction if action == data), None)


_SPECS = {
    ButtonAction.WHY: SPECS["why"],
    ButtonAction.CHART: SPECS["chart"],
    ButtonAction.MUTE: SPECS["silence"],
    ButtonAction.SUBSCRIBE: SPECS["subscribe"],
}


def spec_of(action: ButtonAction) -> CommandSpec:
    """The command whose rights the button has."""
    return _SPECS[action]


def button(action: ButtonAction, words: Words, settings: Settings) -> Button:
    """The button under an answer. That of a subscription says to what."""
    assets = words.comma.join(settings.tiers.majors) or words.phrases["ask.every_asset"]
    return Button(words.phrases[f"button.{action}"].format(assets=assets), action)


def commands_of(
    action: ButtonAction, episodes: Sequence[EpisodeKey], settings: Settings, now: Ms
) -> list[Command]:
    """What to do about the ``episodes`` of the post, the worst first; at least one, but for a
    subscription, which is about none. Empty: it cannot be done about them."""
    if action is ButtonAction.SUBSCRIBE:
        return [Command("subscribe", (ANY, *(settings.tiers.majors or (ANY,))))]
    if action is ButtonAction.WHY:
        return [Command("why", (str(episodes[0]),))]
    of_assets = [episode for episode in episodes if "/" not in episode.subject]
    if action is ButtonAction.CHART:
        return [_chart(of_assets, settings, now)] if of_assets else []
    subjects = [(episode.rule.partition(":")[0], episode.subject) for episode in of_assets]
    return [
        Command("silence", (family, asset, MUTE_FOR))
        for family, asset in list(dict.fromkeys(subjects))[:_MOST]
    ]


def _chart(episodes: Sequence[EpisodeKey], settings: Settings, now: Ms) -> Command:
    """The picture of the first whose metric is a line; of others that of their asset."""
    drawn = {rule.name for rule in settings.rules if drawable(rule.metric)}
    episode = next((episode for episode in episodes if episode.rule in drawn), episodes[0])
    span = next((span for age, span in _SPANS if now - episode.opened_at <= age), "7d")
    rule = episode.rule if episode.rule in drawn else ""
    return Command("chart", tuple(filter(None, (episode.subject, rule, span))))


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
