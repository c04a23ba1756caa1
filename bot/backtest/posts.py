"""Every post of a run by itself: when, about which coins, at which level, and what a reader saw.
Pure.
"""

from collections.abc import Iterator

import msgspec

from bot.backtest.evaluate import Run
from bot.lang import LANGUAGES
from bot.messages.thread import delivery_message
from bot.plan.planner import Delivery
from rules.alerts import Turn
from streams.events import Ms


class ListedPost(msgspec.Struct, frozen=True, kw_only=True):
    """One post, or one that says that it is over."""

    at: Ms
    coins: tuple[str, ...]
    """The worst first; ``ALL`` for the whole market."""
    level: str
    """The highest in it; of an end the one that it had."""
    rules: tuple[str, ...]
    """With their windows."""
    text: str
    """The whole message without markup. It knows no more than was recorded, so it may be shorter
    than a live one."""

    @property
    def headline(self) -> str:
        """What stands on a lock screen."""
        return self.text.partition("\n")[0]

    @property
    def about(self) -> str:
        """The coin, or how many."""
        return self.coins[0] if len(self.coins) == 1 else f"{len(self.coins)} coins"


def is_end(post: Delivery) -> bool:
    """Whether a post says that an episode is over."""
    return post.turn is Turn.CLOSE or post.alerts[0].turn is Turn.CLOSE


def listed(run: Run) -> tuple[tuple[ListedPost, ...], tuple[ListedPost, ...]]:
    """The posts of a run, and the ends apart from them, each by time."""
    return (
        tuple(_listed(run, ends=False)),
        tuple(_listed(run, ends=True)),
    )


def _listed(run: Run, *, ends: bool) -> Iterator[ListedPost]:
    words = LANGUAGES[run.settings.language]
    for post in run.posts:
        if is_end(post) is ends:
            yield ListedPost(
                at=post.at,
                coins=tuple(dict.fromkeys(alert.asset for alert in post.alerts)),
                level=max(alert.level for alert in post.alerts).name.lower(),
                rules=tuple(dict.fromkeys(alert.rule for alert in post.alerts)),
                text=delivery_message(post, words).plain,
            )
