"""One chat's posts: what is next, and what its outcome changes. Pure.

Invariants:
- one thing at a time: until it is settled whether a post arrived, nothing else is sent;
- what is critical goes first, else first come first served; a critical post takes with it the
  earlier ones of its episodes, so that turns of an episode keep their order;
- a post that was confirmed is never sent again;
- an end is told only if its beginning was.
"""

from collections.abc import Sequence

import msgspec

from bot import limiter
from bot.collapse import digests
from bot.ledger import Ledger
from bot.outbox import Post, State
from bot.rendering import edited, lines_below, rendered, with_present
from bot.sinks import Edited
from bot.steps import Delete, Edit, Probe, Send, Step, Trouble
from streams.events import Ms

replace = msgspec.structs.replace

_NAMES = 5
_FORGIVEN = 6


class Line(Ledger):
    """What is next in one chat."""

    def recover(self) -> int:
        """After a start: what was under way is uncertain. How many that are."""
        lost = [post for post in self.posts.values() if post.state is State.SENDING]
        for post in lost:
            self._put(post, state=State.UNCERTAIN)
        return len(lost)

    def resting(self, now: Ms) -> Ms:
        """Until when nothing may be asked of the chat; ``now`` if it may."""
        return max(now, self.state.pace.until, self.state.off_until if self.state.off else now)

    # What is next.

    def next(self, now: Ms) -> Step | Ms | None:
        """What to do now, or when to ask again; None: when something has been added."""
        self._expire(now)
        if self.state.off and now < self.state.off_until:
            return self.state.off_until
        if self.state.flooded and self.state.pace.until <= now:
            self._know(flooded=False)
            self._collapse(urgent=False)
        step = self._first(now)
        if step is None:
            return self._next_edit(now)
        urgent = not isinstance(step, Send) or step.urgent
        ready = limiter.ready(self.state.pace, self.limits, now, urgent=urgent)
        if ready <= now:
            return step
        if isinstance(step, Send) and urgent and self.state.pace.until <= now:
            self._collapse(urgent=True)
        return ready

    def _first(self, now: Ms) -> Step | None:
        for post in list(self.posts.values()):
            if post.state is State.UNCERTAIN and (probe := self._settle(post, now)):
                return probe
        if self.state.doomed:
            return Delete(self.state.doomed[0])
        waiting = self.waiting()
        if not waiting:
            return None
        urgent = _urgent(waiting)
        doubted = next((p for p in waiting if p.doubted or p.again), None)
        post = doubted or next((p for p in waiting if p.key in urgent), waiting[0])
        return Send(post, self._reply_to(post), post.key in urgent or post.doubted)

    def _settle(self, post: Post, now: Ms) -> Probe | None:
        """How an uncertain post is looked for; None: that is no use, and it is sent again or not.

        The bot is the only one who posts, so it can only be the message after the last one.
        """
        last, policy = self.state.last_id, self.policy
        if self.state.probe and last is not None and post.probes < policy.probes:
            return Probe(post, last + 1 + post.skipped)
        if post.found:
            self._arrived(post, now)
            return None
        if policy.on_uncertain == "drop" or post.expires < now:
            self._fail(post, "perhaps posted, not sent again", now)
            self._know(last_id=None)
            return None
        self._put(post, state=State.RETRY, again=True, doubted=post.skipped == 0)
        return None

    def _next_edit(self, now: Ms) -> Step | Ms | None:
        stale = [
            (max(post.edited_at + self.policy.edit_every, now), post)
            for post in self.posts.values()
            if post.state is State.SENT and post.live != post.shown and post.message_id is not None
        ]
        if not stale:
            return None
        due, post = min(stale, key=lambda item: (item[0], item[1].edited_at, item[1].number))
        due = max(due, limiter.ready(self.state.pace, self.limits, now, edit=True))
        if due > now or post.message_id is None:
            return due
        return Edit(post, edited(post).html, post.message_id)

    def _reply_to(self, post: Post) -> int | None:
        if len(post.openings) != 1:
            return None
        opening = self.posts.get(post.openings[0])
        return opening.message_id if opening else None

    def _expire(self, now: Ms) -> None:
        for post in self.waiting():
            begun = [self.posts[key] for key in post.openings if key in self.posts]
            unsaid = begun and all(p.state in (State.EXPIRED, State.FAILED) for p in begun)
            if post.close and unsaid:
                self._settled(post, now, state=State.EXPIRED, reason="its beginning was not told")
            elif post.expires < now:
                self._settled(post, now, state=State.EXPIRED, reason="too old to be news")
                if not post.close:
                    self._leave_out(post)

    def _leave_out(self, post: Post) -> None:
        names = tuple(dict.fromkeys((*self.state.left_names, *post.names)))[:_NAMES]
        self._know(left=self.state.left + post.count, left_names=names)

    def _collapse(self, urgent: bool) -> None:
        """Too much of one lane waits: digests take its place."""
        lane = _urgent(self.waiting())
        calm = [p for p in self.waiting() if not (p.again or p.doubted)]
        posts = [p for p in calm if (p.key in lane) is urgent]
        title, crowd = "collapsed", self.policy.crowded
        if urgent:
            title, crowd = "rush", self.policy.rush
        if len(posts) <= crowd:
            return
        for topic in dict.fromkeys((post.topic, post.language) for post in posts):
            group = [post for post in posts if (post.topic, post.language) == topic]
            self._replace(group, digests(group, title))

    def _replace(self, group: Sequence[Post], made: Sequence[Post]) -> None:
        for post in group:
            self._drop(post.key)
        for digest in made:
            self.posts[digest.key] = self.changed[digest.key] = digest
        self.posts = dict(sorted(self.posts.items(), key=lambda item: item[1].number))
        for post in list(self.posts.values()):
            if any(key not in self.posts for key in post.openings):
                self._put(post, openings=self._openings(post))

    def _openings(self, post: Post) -> tuple[str, ...]:
        """Where the beginnings of its episodes are told now."""
        found = [self.opening(episode, post.topic) for episode in post.episodes]
        earlier = [one.key for one in found if one is not None and one.number < post.number]
        return tuple(dict.fromkeys(earlier))

    # What came of it.

    def begin(self, step: Step, now: Ms) -> Step:
        """``step`` is about to be made; a post gets the text that is true now."""
        self._know(pace=limiter.used(self.state.pace, now, edit=isinstance(step, Edit)))
        if not isinstance(step, Send):
            return step
        parts = with_present(step.post.parts, self.present)
        lines = lines_below(step.post, self.state, self.policy.late, now)
        message = rendered(replace(step.post, parts=parts), lines)
        post = self._put(
            step.post,
            state=State.SENDING,
            attempts=step.post.attempts + 1,
            parts=parts,
            message=message if parts else step.post.message,
            body=message.html,
            lines=lines,
            left=0 if step.post.close else self.state.left,
            probes=0,
            skipped=0,
            found=(),
        )
        return replace(step, post=post)

    def sent(self, post: Post, message_id: int | None, now: Ms) -> None:
        """It arrived. A jump of the numbers after doubts: it had arrived before as well."""
        last = self.state.last_id
        if post.doubted and self.state.probe and last is not None and message_id is not None:
            doubles = range(last + 1, message_id)
            if len(doubles) < post.attempts:
                self._know(doomed=(*self.state.doomed, *doubles))
        if message_id is not None:
            self._know(last_id=message_id)
        if (until := self.state.closed_topics.get(post.topic or 0)) is not None and until <= now:
            topics = {t: at for t, at in self.state.closed_topics.items() if t != post.topic}
            self._know(closed_topics=topics)  # it was sent there: the topic is open again
        self._settled(post, now, state=State.SENT, message_id=message_id, edited_at=now)
        if post.left:
            self._know(left=max(0, self.state.left - post.left), left_names=())
        self._works()

    def put_off(self, post: Post | None, now: Ms, until: Ms, flood: bool = False) -> None:
        """It was surely not done, and may be from ``until`` on."""
        if post is not None:
            self._put(post, state=State.RETRY)
        if flood:
            self._know(pace=limiter.flooded(self.state.pace, now, until), flooded=True)
        else:
            self._know(pace=limiter.paused(self.state.pace, until))

    def doubtful(self, post: Post | None, now: Ms) -> None:
        """Nobody knows whether it was done. ``post``: what was being sent, None: something that
        may be repeated."""
        if post is not None:
            self._put(post, state=State.UNCERTAIN)
        first, longest = self.policy.backoff
        wait = min(longest, first * 2 ** min(self.state.troubles, _FORGIVEN))
        self._know(
            troubles=self.state.troubles + 1,
            pace=limiter.paused(self.state.pace, now + wait),
        )

    def refused_markup(self, post: Post, reason: str, now: Ms) -> None:
        """The text was refused: once more as plain text, then not at all."""
        if post.markup:
            self._put(post, state=State.RETRY, markup=False, reason=reason)
        else:
            self.refused(post, reason, now)

    def refused(self, post: Post, reason: str, now: Ms) -> None:
        """It will never be posted."""
        self._fail(post, reason, now)

    def topic(self, post: Post, now: Ms) -> int | None:
        """In which topic ``post`` is sent ``now``: "General" in place of one that takes nothing."""
        closed = post.topic is not None and now < self.state.closed_topics.get(post.topic, 0)
        return None if closed else post.topic

    def topic_refused(self, post: Post, reason: str, now: Ms) -> None:
        """The topic takes nothing: the post and those that follow go to "General" for a while."""
        closed = self.state.closed_topics
        self._put(post, state=State.RETRY)
        if post.topic is not None:
            if post.topic not in closed:
                self.troubles.append(Trouble(phrase="trouble.topic", chat=self.key, reason=reason))
            self._know(closed_topics={**closed, post.topic: now + self.policy.off})

    def turned_off(self, post: Post | None, reason: str, now: Ms) -> None:
        """The chat does not let the bot post. What waits stays; later the next one is tried."""
        if post is not None and post.state is State.SENDING:
            self._put(post, state=State.RETRY)
        if not self.state.off:
            self.troubles.append(Trouble(phrase="trouble.off", chat=self.key, reason=reason))
        self._know(off=reason, off_until=now + self.policy.off)

    def try_again(self) -> None:
        """Somebody has changed something: a chat that is off is tried at once."""
        if self.state.off:
            self._know(off_until=0)

    def moved(self, post: Post | None, to: int, now: Ms) -> None:
        """The chat is now another one, where old message numbers mean nothing."""
        if post is not None:
            self._put(post, state=State.RETRY)
        if self.state.moved_to == to:
            return  # known already, from another answer or from the chat itself
        self.troubles.append(Trouble(phrase="trouble.moved", chat=self.key, reason=str(to)))
        for old in list(self.posts.values()):
            if old.message_id is not None:
                self._put(old, message_id=None)
        self._know(moved_to=to, last_id=None, doomed=())

    def probed(self, step: Probe, found: Edited, now: Ms) -> None:
        """What stands where an uncertain post was looked for.

        A message of ours that had another text was a copy too, from an earlier try. Whoever was
        tried more than once may be there more than once: the last copy is kept.
        """
        post = self.posts[step.post.key]
        if found in (Edited.SAME, Edited.CHANGED):
            here = (*post.found, step.message_id)
            post = self._put(post, found=here, skipped=post.skipped + 1)
            if found is Edited.SAME and post.attempts == 1 and len(here) == 1:
                self._arrived(post, now)
        elif post.found:
            self._arrived(post, now)
        elif found is Edited.GONE:
            self._put(post, state=State.RETRY, doubted=post.skipped == 0)
            self._works()
        else:
            self._put(post, probes=post.probes + 1, skipped=post.skipped + 1)

    def _arrived(self, post: Post, now: Ms) -> None:
        *doubles, last = post.found
        self._know(doomed=(*self.state.doomed, *doubles))
        self.sent(replace(post, doubted=False), last, now)

    def unprobed(self, step: Probe, now: Ms) -> None:
        """It could not be looked for."""
        post = self.posts[step.post.key]
        self._put(post, probes=post.probes + 1)
        self.doubtful(None, now)

    def edited(self, step: Edit, found: Edited, now: Ms) -> None:
        """What came of an edit. A message that is gone is not edited again."""
        post = self.posts[step.post.key]
        lost = found in (Edited.GONE, Edited.FOREIGN)
        number = None if lost else post.message_id
        self._let_go(self._put(post, shown=step.post.live, edited_at=now, message_id=number))
        self._works()

    def deleted(self, message_id: int) -> None:
        """It is gone, or cannot be deleted."""
        self._know(doomed=tuple(one for one in self.state.doomed if one != message_id))

    def known(self, title: str, probe: bool) -> None:
        """What the chat says of itself."""
        if (self.state.title, self.state.probe) != (title, probe):
            self._know(title=title, probe=probe)

    def _works(self) -> None:
        if self.state.troubles or self.state.off:
            self._know(troubles=0, off="", off_until=0)


def _urgent(waiting: Sequence[Post]) -> set[str]:
    """The critical lane: critical posts, and the earlier ones of their episodes."""
    keys: set[str] = set()
    episodes: set[str] = set()
    for post in reversed(waiting):
        if post.critical or not episodes.isdisjoint(post.episodes):
            keys.add(post.key)
            episodes.update(post.episodes)
    return keys
