"""The chats of the configuration and those of subscribers, as the plan needs them. Pure."""

from collections.abc import Iterable

from bot.config import Settings
from bot.config.chats import OperatorSettings, Wanted
from bot.config.markets import Tiers
from bot.destination import TelegramChat, WebhookName, place_key, telegram_or_console
from bot.plan.planner import ButtonAction, Chat, Filter
from bot.plan.subscriptions import ANY, Subscriber
from rules.alerts import ALL


def rule_names(settings: Settings) -> tuple[str, ...]:
    """The rules that may be silenced or subscribed to, composites among them."""
    names = [rule.family for rule in settings.rules]
    return tuple(dict.fromkeys([*names, *(each.name for each in settings.composites)]))


def chats(settings: Settings) -> tuple[Chat, ...]:
    """The chats of the configuration; at least one."""
    return tuple(
        Chat(
            destination=telegram_or_console(chat.id, chat.topic),
            language=chat.language,
            short=chat.short,
            filters=(filter_of(chat.wanted, settings.tiers),),
            posts_per_hour=chat.posts_per_hour,
            quiet=chat.quiet,
            recap=chat.recap,
            pictures=chat.pictures,
            summary=chat.summary,
            weekly_report=chat.weekly_report,
            release_note=settings.release_note,
            buttons=_buttons(chat.id, settings.operators) if chat.buttons else (),
            majors=frozenset(settings.tiers.majors),
            group_wait=settings.group_wait,
        )
        for chat in settings.chats
    )


def operators_language(settings: Settings) -> str:
    """That of the operators' chat, where it gets alerts too; else that of the configuration."""
    operators = settings.operators.chat_id
    if operators is None:
        return settings.language
    place = place_key(operators)
    own = (chat.language for chat in settings.chats if place_key(chat.id) == place)
    return next(own, settings.language)


def webhook_chats(settings: Settings) -> tuple[Chat, ...]:
    """The webhooks, by name. They get each alert by itself, and are not limited: programs read
    them."""
    return tuple(
        Chat(
            destination=WebhookName(webhook.name),
            language=settings.language,
            filters=(filter_of(webhook.wanted, settings.tiers),),
        )
        for webhook in settings.webhooks
    )


def messenger_chats(settings: Settings) -> tuple[Chat, ...]:
    """The messengers, which people read: told by event, as chats are."""
    return tuple(
        Chat(
            destination=messenger.destination,
            language=messenger.language,
            short=messenger.short,
            filters=(filter_of(messenger.wanted, settings.tiers),),
            posts_per_hour=messenger.posts_per_hour,
            quiet=messenger.quiet,
            recap=messenger.recap,
            pictures=messenger.pictures,
            summary=messenger.summary,
            weekly_report=messenger.weekly_report,
            release_note=settings.release_note,
            majors=frozenset(settings.tiers.majors),
            group_wait=settings.group_wait,
        )
        for messenger in settings.messengers
    )


def subscribed_chats(subscriptions: Iterable[Subscriber], settings: Settings) -> tuple[Chat, ...]:
    """The private chats of those who subscribed, in their order."""
    return tuple(
        Chat(
            destination=TelegramChat(subscriber.user),
            language=subscriber.language,
            filters=tuple(_subscribed(rule, assets) for rule, assets in subscriber.wants.items()),
            private=True,
            buttons=_buttons(subscriber.user, settings.operators) if settings.buttons else (),
            majors=frozenset(settings.tiers.majors),
            group_wait=settings.group_wait,
        )
        for subscriber in subscriptions
    )


def _buttons(chat: int | str | None, operators: OperatorSettings) -> tuple[ButtonAction, ...]:
    """What is under posts to ``chat``: where only operators are, what only they may do as well."""
    if chat is None:
        return ()
    theirs = place_key(chat) == place_key(operators.chat_id) or chat in operators.users
    asking = (ButtonAction.WHY, ButtonAction.CHART)
    return (*asking, ButtonAction.MUTE) if theirs else asking


def filter_of(wanted: Wanted, where: Tiers) -> Filter:
    """``wanted`` with its tiers as assets. Assets of the operator's own tiers are in majors,
    large or the tail as well."""
    names = set(wanted.assets)
    assets = names - {"majors", "large", "tail", *where.own}
    for tier, members in {"majors": where.majors, "large": where.large, **where.own}.items():
        assets |= set(members) if tier in names else set()
    top = frozenset({*where.majors, *where.large, ALL})
    return Filter(
        rules=frozenset(wanted.rules) if wanted.rules else None,
        assets=frozenset(assets) if names else None,
        all_but=top if "tail" in names else None,
        min_level=wanted.min_level,
    )


def _subscribed(rule: str, assets: Iterable[str]) -> Filter:
    wanted = frozenset(assets)
    return Filter(
        rules=None if rule == ANY else frozenset({rule}),
        assets=None if ANY in wanted else wanted,
    )
