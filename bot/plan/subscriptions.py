"""Subscriptions: what single people want to be told in private. Pure.

A subscription goes by rules and assets. It is kept under the number of the user, which is also that
of the chat.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

ANY = "*"
"""Every rule, or every asset."""

MOST_ASSETS = 30
"""Of one rule; who wants more wants all."""


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """What ``user`` is told. ``wants``: rule (a family, or ANY) → assets, or ANY among them."""

    user: int
    wants: Mapping[str, tuple[str, ...]] = {}
    language: str = "en"


def with_wish(one: Subscriber, rule: str, assets: Sequence[str]) -> Subscriber:
    """``one`` with ``assets`` for ``rule`` too. ValueError if these are too many."""
    known = one.wants.get(rule, ())
    wanted = (ANY,) if ANY in (*known, *assets) else tuple(dict.fromkeys((*known, *assets)))
    if len(wanted) > MOST_ASSETS:
        raise ValueError(f"at most {MOST_ASSETS} assets for one rule; * stands for all of them")
    return msgspec.structs.replace(one, wants={**one.wants, rule: wanted})


def without_wish(one: Subscriber, rule: str, assets: Sequence[str]) -> Subscriber:
    """``one`` without ``assets`` for ``rule``; of no assets, without the rule; ANY: of everything.

    What is taken from ANY is still among every asset, so only the whole of it can be taken back.
    """
    if rule == ANY and not assets:
        return msgspec.structs.replace(one, wants={})
    left = tuple(a for a in one.wants.get(rule, ()) if assets and a not in assets)
    wants = {name: left if name == rule else those for name, those in one.wants.items()}
    return msgspec.structs.replace(one, wants={name: some for name, some in wants.items() if some})


def dump(one: Subscriber) -> bytes:
    """As JSON, for Redis."""
    return msgspec.json.encode(one)


def load(data: bytes) -> Subscriber:
    """What ``dump`` wrote. Raises msgspec.MsgspecError if it is something else."""
    return msgspec.json.decode(data, type=Subscriber)


def ordered(found: Iterable[Subscriber]) -> tuple[Subscriber, ...]:
    """Always in the same order."""
    return tuple(sorted(found, key=lambda one: one.user))
