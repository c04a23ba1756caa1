"""The channel of the configuration, as the plan needs it."""

from bot.config import Settings
from bot.dispatch import Chat


def channel(settings: Settings) -> Chat:
    """Where messages go and what is borne there. Composites that are never told hide nothing."""
    return Chat(
        id=settings.chat_id,
        posts_per_hour=settings.posts_per_hour,
        quiet=settings.quiet,
        group_wait=settings.group_wait,
        hides={one.name: one.hides for one in settings.composites if one.post},
    )
