"""Posts that waited too long in one chat → digests of them. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from bot.blocks import MOST_CHARS, visible
from bot.lang import LANGUAGES
from bot.outbox import Part, Post
from bot.rendering import post_heads, rendered
from bot.voice import say
from rules.alerts import Turn

_ROOM = MOST_CHARS - 400
"""The rest is for values that have changed when it is sent, and for what is said of late and
left-out posts."""


def digests(posts: Sequence[Post], title: str) -> list[Post]:
    """As few posts as can be in place of ``posts``, in their order. ``title``: a phrase's key.

    In them are the first lines of all, and the lists of those that are digests already. Facts are
    left out: longer messages reach Telegram's limits sooner. One that is left alone stays as it is.
    """
    groups: list[list[Post]] = []
    room = 0
    for post in posts:
        size = sum(visible(head) + 1 for head in post_heads(post))
        if not groups or size > room:
            groups.append([])
            room = _ROOM - visible(_title(posts, title))
        groups[-1].append(post)
        room -= size
    return [_digest(group, title) if len(group) > 1 else group[0] for group in groups]


def _title(posts: Sequence[Post], title: str) -> str:
    words = LANGUAGES[posts[0].language]
    return say(words, title, count=str(sum(post.gathered for post in posts)))


def _digest(posts: Sequence[Post], title: str) -> Post:
    last = posts[-1]
    worst = max(posts, key=lambda post: post.message.level)
    closes = all(post.close for post in posts)
    message = msgspec.structs.replace(
        worst.message,
        asset="",
        turn=Turn.CLOSE if closes else Turn.OPEN,
        silent=all(post.message.silent for post in posts),
        at=max(post.message.at for post in posts),
    )
    made = Post(
        key=f"digest {posts[0].key} +{len(posts) - 1}",
        chat=last.chat,
        number=last.number,
        message=message,
        at=max(post.at for post in posts),
        expires=max(post.expires for post in posts),
        parts=tuple(part for post in posts for part in _parts(post)),
        title=title,
        language=last.language,
        topic=last.topic,
        count=sum(post.count for post in posts),
        names=_union(post.names for post in posts),
        episodes=_union(post.episodes for post in posts),
        open=_union(post.open for post in posts),
        begins=_union(post.begins for post in posts),
        openings=_union(post.openings for post in posts) if closes else (),
        gathered=sum(post.gathered for post in posts),
    )
    return msgspec.structs.replace(made, message=rendered(made))


def _parts(post: Post) -> tuple[Part, ...]:
    """What it is rendered from; of a post without alerts the lines that must be told."""
    return post.parts or post_heads(post)


def _union(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for part in parts for one in part))
