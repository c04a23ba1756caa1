"""Subscriptions: which alerts a single person wants in private. Pure.

A subscription goes by rules and assets. It is kept under the number of the user, which is also that
of the chat.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from bot.lang.words import PhraseError

ANY = "*"
"""Every rule, or every asset."""

MOST_ASSETS = 30
"""Of one rule; who wants more wants all."""


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts ``user`` gets."""

    user: int
    """The number that Telegram gave the user, and the private chat."""
    wants: Mapping[str, tuple[str, ...]] = {}
    """Rule (a family, or ANY) → assets, or ANY among them."""
    language: str = "en"
    informed: tuple[str, ...] = ()
    """Rules of ``wants`` that are gone, of which the user has been told."""


def gone_rules(subscriber: Subscriber, rules: Collection[str]) -> tuple[str, ...]:
    """What ``subscriber`` wants and is none of ``rules``, which are all that there are."""
    return tuple(rule for rule in subscriber.wants if rule != ANY and rule not in rules)


def with_assets(subscriber: Subscriber, rule: str, assets: Sequence[str]) -> Subscriber:
    """``subscriber`` with ``assets`` for ``rule`` too. PhraseError if these are too many."""
    known = subscriber.wants.get(rule, ())
    wanted = (ANY,) if ANY in (*known, *assets) else tuple(dict.fromkeys((*known, *assets)))
    if len(wanted) > MOST_ASSETS:
        raise PhraseError("ask.subscribed.too_many", most=str(MOST_ASSETS))
    return msgspec.structs.replace(subscriber, wants={**subscriber.wants, rule: wanted})


def without_assets(subscriber: Subscriber, rule: str, assets: Sequence[str]) -> Subscriber:
    """``subscriber`` without ``assets`` for ``rule``. No assets: without the rule; and if that is
    ANY, without everything.

    What is taken from ANY is still among every asset, so only the whole of it can be taken back.
    """
    if rule == ANY and not assets:
        return msgspec.structs.replace(subscriber, wants={})
    left = tuple(a for a in subscriber.wants.get(rule, ()) if assets and a not in assets)
    wants = {name: left if name == rule else those for name, those in subscriber.wants.items()}
    return msgspec.structs.replace(
        subscriber, wants={name: names for name, names in wants.items() if names}
    )


def dump(subscriber: Subscriber) -> bytes:
    """As JSON, for Redis."""
    return msgspec.json.encode(subscriber)


def load(data: bytes) -> Subscriber:
    """What ``dump`` wrote. Raises msgspec.MsgspecError if it is something else."""
    return msgspec.json.decode(data, type=Subscriber)


def ordered(subscribers: Iterable[Subscriber]) -> tuple[Subscriber, ...]:
    """In the order of their numbers."""
    return tuple(sorted(subscribers, key=lambda subscriber: subscriber.user))
