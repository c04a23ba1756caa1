"""One chat's posts: every change is noted until somebody has made it durable. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from bot import limiter
from bot.limiter import Limits
from bot.outbox import SETTLED, WAITING, ChatState, Policy, Post, State
from bot.rendering import Present, set_back, with_worst, worst_line
from bot.steps import Trouble
from streams.events import Ms

replace = msgspec.structs.replace


class Ledger:
    """The posts of one chat, what is known of the chat, and what has changed.

    ``changed``: post by key, None: forgotten. ``state_changed``: so has what is known of the chat.
    ``troubles``: what operators are still to be told. ``present``: the newest values of open
    episodes.
    """

    def __init__(
        self,
        key: str,
        state: ChatState,
        limits: Limits,
        policy: Policy | None = None,
        posts: Iterable[Post] = (),
    ) -> None:
        self.key = key
        self.state = state
        self.limits = limits
        self.policy = policy or Policy()
        self.posts = {post.key: post for post in sorted(posts, key=lambda p: p.number)}
        self.changed: dict[str, Post | None] = {}
        self.state_changed = False
        self.troubles: list[Trouble] = []
        self.present: Present = {}
        for post in list(self.posts.values()):
            self._end(post)

    def waiting(self) -> list[Post]:
        """What is to be sent, the oldest first."""
        return [post for post in self.posts.values() if post.state in WAITING]

    def idle(self) -> bool:
        """Whether everything is settled but edits."""
        return all(p.state in SETTLED for p in self.posts.values()) and not self.state.doomed

    def opening(self, episode: str, topic: int | None) -> Post | None:
        """The post in which the beginning of ``episode`` was told, or will be."""
        for post in self.posts.values():
            if episode in post.episodes and post.topic == topic and not post.close:
                return post
        return None

    def add(self, post: Post) -> None:
        """``post``, which has been kept already, joins the queue; a second time it is ignored."""
        if post.key not in self.posts:
            self.posts[post.key] = post
            self._end(post)

    def live(self, language: str, told: Iterable[tuple[str, str, str]]) -> None:
        """What episodes look like now in ``language``: the episode, what is told, the line that
        tells it. Only what is told is worth an edit."""
        lines = {episode: (of, line) for episode, of, line in told}
        for post in [p for p in self.posts.values() if p.open and p.language == language]:
            self.posts[post.key] = self._still_true(post, lines)

    def _still_true(self, post: Post, lines: Mapping[str, tuple[str, str]]) -> Post:
        """``post`` as it is to be edited: what began in it, at its worst so far."""
        if post.opens and post.episodes[0] in lines:
            of, line = lines[post.episodes[0]]
            if post.live_of != of:
                post = replace(post, live=line, live_of=of)
        if post.state in WAITING or post.close or set(post.begins).isdisjoint(post.open):
            return post
        parts = with_worst(post.parts, self.present, post.open)
        if parts is post.parts:
            return post
        live = post.live if post.opens else worst_line(parts, post.language)
        return replace(post, parts=parts, live=live)

    def set_back(self, by: Ms) -> None:
        """The clock was set back ``by`` so much: everything is as old as it was."""
        for post in list(self.posts.values()):
            times = {
                name: max(0, at - by)
                for name in ("at", "expires", "edited_at", "kept_until")
                if (at := getattr(post, name))
            }
            self._put(post, parts=set_back(post.parts, by), **times)
        closed = {topic: max(0, at - by) for topic, at in self.state.closed_topics.items()}
        pace = limiter.set_back(self.state.pace, by)
        off = max(0, self.state.off_until - by)
        self._know(pace=pace, off_until=off, closed_topics=closed)

    def prune(self, now: Ms) -> None:
        """Forget what has been settled for long."""
        settled = [post for post in self.posts.values() if post.state in SETTLED]
        surplus = settled[: max(0, len(settled) - self.policy.most)]
        for post in [*surplus, *(p for p in settled if p.kept_until < now)]:
            self._drop(post.key)

    def _end(self, close: Post) -> None:
        """The episodes of an end are over; an opening of one alone says so in its last edit."""
        for episode, said in close.ends.items():
            for post in list(self.posts.values()):
                if episode not in post.open:
                    continue
                rest = tuple(one for one in post.open if one != episode)
                until = post.kept_until if rest else close.at + self.policy.over
                live = (said, "over") if post.opens else (post.live, post.live_of)
                self._put(post, open=rest, kept_until=until, live=live[0], live_of=live[1])

    def _fail(self, post: Post, reason: str, now: Ms) -> None:
        self._settled(post, now, state=State.FAILED, reason=reason)
        self.troubles.append(
            Trouble(
                phrase="trouble.failed",
                chat=self.key,
                reason=reason,
                alert=post.message.alert_id,
            )
        )

    def _settled(self, post: Post, now: Ms, **changes: object) -> None:
        keep = self.policy.oldest if post.open else self.policy.over
        settled = self._put(post, kept_until=now + keep, **changes)
        if settled.state is not State.SENT:
            self._put(settled, parts=())
        else:
            self._let_go(settled)

    def _let_go(self, post: Post) -> None:
        """Once nothing of it can change, it need not be rendered again."""
        if not post.open and (post.live == post.shown or post.message_id is None):
            self._put(post, parts=())

    def _put(self, post: Post, **changes: object) -> Post:
        live = self.posts.get(post.key, post)  # an edit may have been asked for meanwhile
        changed = replace(
            post, live=live.live, live_of=live.live_of, open=live.open, parts=live.parts
        )
        changed = replace(changed, **changes)
        self.posts[post.key] = self.changed[post.key] = changed
        return changed

    def _drop(self, key: str) -> None:
        if self.posts.pop(key, None) is not None:
            self.changed[key] = None

    def asked(self, now: Ms) -> None:
        """Something that is no post was asked of the chat: an answer, a check, a menu."""
        self._know(pace=limiter.used(self.state.pace, now))

    def _know(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)
        self.state_changed = True
