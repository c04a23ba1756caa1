"""One chat's posts: what is next, and what its outcome changes. Pure.

Invariants:
- one thing at a time: until it is settled whether a post arrived, nothing else is sent;
- what is critical goes first, else first come first served; a critical post takes with it the
  earlier ones of its episodes, so that turns of an episode keep their order;
- a post that was confirmed is never sent again;
- an end is told only if its beginning was;
- what waits of one episode is told once, as it is when it leaves, and its end in a post of its own.

Every change is noted until somebody has made it durable. Posts that waited too long become digests.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bot.delivery import pace
from bot.delivery.pace import Limits
from bot.delivery.post import (
    SETTLED,
    WAITING,
    ChatState,
    DeleteStep,
    DeliveryProblem,
    EditStep,
    Part,
    Policy,
    Post,
    PostState,
    ProbeStep,
    QueueStep,
    SendStep,
)
from bot.delivery.rendering import (
    Present,
    edited,
    lines_below,
    merged_delivery,
    post_heads,
    rendered,
    set_back,
    values_at,
    with_present,
    with_worst,
    worst_line,
)
from bot.delivery.sinks import Edited
from bot.destination import WebhookName
from bot.lang import LANGUAGES
from bot.messages.blocks import MOST_CHARS, visible
from bot.messages.digest import delivery_message
from bot.messages.voice import say
from rules.alerts import CascadeFacts, Turn
from streams.events import Ms

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
        alerts=_union(post.alerts for post in posts),
        names=_union(post.names for post in posts),
        episodes=_union(post.episodes for post in posts),
        open=_union(post.open for post in posts),
        begins=_union(post.begins for post in posts),
        openings=_union(post.openings for post in posts) if closes else (),
        gathered=sum(post.gathered for post in posts),
    )
    return msgspec.structs.replace(made, message=rendered(made))


def _merged(first: Post, later: Post) -> Post | None:
    """Both in the place of ``first``; None if they do not tell of the same episodes."""
    told, newer = first.delivery, later.delivery
    if told is None or newer is None or set(first.episodes) != set(later.episodes):
        return None
    delivery = merged_delivery(told, newer)
    return msgspec.structs.replace(
        first,
        message=delivery_message(delivery, LANGUAGES[first.language]),
        expires=max(first.expires, later.expires),
        parts=(delivery,),
        alerts=_union((first.alerts, later.alerts)),
        live_of=first.live_of if first.live else later.live_of,
        markup=True,
    )


def _told_by(sent: Post, post: Post) -> bool:
    """Whether ``sent`` said of all that ``post`` tells how it was then or later, as loudly."""
    delivery = post.delivery
    if sent.state is not PostState.SENT or delivery is None:
        return False
    if sent.message.level < post.message.level or sent.message.silent > post.message.silent:
        return False
    for alert in delivery.alerts:
        # one event can give a composite two turns, of which the second knows more
        later = alert.seen + isinstance(alert.facts, CascadeFacts)
        if sent.values_at.get(str(alert.episode), -1) < later:
            return False
    return set(sent.episodes) == set(post.episodes)


def _parts(post: Post) -> tuple[Part, ...]:
    """What it is rendered from; of a post without alerts the lines that must be told."""
    return post.parts or post_heads(post)


def _union(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for part in parts for one in part))


replace = msgspec.structs.replace

_NAMES = 5
_FORGIVEN = 6


class ChatQueue:
    """The posts of one chat: what is next, what is known of the chat, and what has changed.

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
        self.troubles: list[DeliveryProblem] = []
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
            values = {of: at - by for of, at in post.values_at.items()}
            self._put(post, parts=set_back(post.parts, by), values_at=values, **times)
        closed = {topic: max(0, at - by) for topic, at in self.state.closed_topics.items()}
        off = max(0, self.state.off_until - by)
        self._know(pace=pace.set_back(self.state.pace, by), off_until=off, closed_topics=closed)

    def prune(self, now: Ms) -> None:
        """Forget what has been settled for long."""
        settled = [post for post in self.posts.values() if post.state in SETTLED]
        surplus = settled[: max(0, len(settled) - self.policy.most)]
        for post in [*surplus, *(p for p in settled if p.kept_until < now)]:
            self._drop(post.key)

    def _end(self, close: Post) -> None:
        """The episodes of an end are over; an opening of one alone says so in its last edit."""
        for ended, said in close.ends.items():
            for post in list(self.posts.values()):
                if ended not in post.open:
                    continue
                rest = tuple(of for of in post.open if of != ended)
                until = post.kept_until if rest else close.at + self.policy.over
                live = (said, "over") if post.opens else (post.live, post.live_of)
                self._put(post, open=rest, kept_until=until, live=live[0], live_of=live[1])

    def _fail(self, post: Post, reason: str, now: Ms) -> None:
        self._settled(post, now, state=PostState.FAILED, reason=reason)
        self.troubles.append(
            DeliveryProblem(
                phrase="trouble.failed",
                chat=self.key,
                reason=reason,
                alert=post.message.alert_id,
            )
        )

    def _settled(self, post: Post, now: Ms, **changes: object) -> None:
        keep = self.policy.oldest if post.open else self.policy.over
        settled = self._put(post, kept_until=now + keep, **changes)
        if settled.state is not PostState.SENT:
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
        self._know(pace=pace.used(self.state.pace, now))

    def _know(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)
        self.state_changed = True

    def recover(self) -> int:
        """After a start: what was under way is uncertain. How many that are."""
        lost = [post for post in self.posts.values() if post.state is PostState.SENDING]
        for post in lost:
            self._put(post, state=PostState.UNCERTAIN)
        return len(lost)

    def resting(self, now: Ms) -> Ms:
        """Until when nothing may be asked of the chat; ``now`` if it may."""
        return max(now, self.state.pace.until, self.state.off_until if self.state.off else now)

    # What is next.

    def next(self, now: Ms) -> QueueStep | Ms | None:
        """What to do now, or when to ask again; None: when something has been added."""
        self._merge()
        self._expire(now)
        if self.state.off and now < self.state.off_until:
            return self.state.off_until
        if self.state.flooded and self.state.pace.until <= now:
            self._know(flooded=False)
            self._collapse(urgent=False)
        step = self._first(now)
        if step is None:
            return self._next_edit(now)
        urgent = not isinstance(step, SendStep) or step.urgent
        ready = pace.ready(self.state.pace, self.limits, now, urgent=urgent)
        if ready <= now:
            return step
        if isinstance(step, SendStep) and urgent and self.state.pace.until <= now:
            self._collapse(urgent=True)
        return ready

    def _first(self, now: Ms) -> QueueStep | None:
        for post in list(self.posts.values()):
            if post.state is PostState.UNCERTAIN and (probe := self._settle(post, now)):
                return probe
        if self.state.doomed:
            return DeleteStep(self.state.doomed[0])
        waiting = self.waiting()
        if not waiting:
            return None
        urgent = _urgent(waiting)
        doubted = next((p for p in waiting if p.doubted or p.again), None)
        post = doubted or next((p for p in waiting if p.key in urgent), waiting[0])
        return SendStep(post, self._reply_to(post), post.key in urgent or post.doubted)

    def _settle(self, post: Post, now: Ms) -> ProbeStep | None:
        """How an uncertain post is looked for; None: that is no use, and it is sent again or not.

        The bot is the only one who posts, so it can only be the message after the last one.
        """
        last, policy = self.state.last_id, self.policy
        if self.state.probe and last is not None and post.probes < policy.probes:
            return ProbeStep(post, last + 1 + post.skipped)
        if post.found:
            self._arrived(post, now)
            if len(post.found) < post.attempts:  # one more may follow that nobody has seen
                self._know(last_id=None)
            return None
        if post.unread >= policy.unread:
            reason = f"perhaps posted: {post.unread} answers could not be read"
            self._fail(post, reason, now)
            self._know(last_id=None)
            return None
        if policy.on_uncertain == "drop" or post.expires < now:
            self._fail(post, "perhaps posted, not sent again", now)
            self._know(last_id=None)
            return None
        self._put(post, state=PostState.RETRY, again=True, doubted=post.skipped == 0)
        return None

    def _next_edit(self, now: Ms) -> QueueStep | Ms | None:
        stale = [
            (max(post.edited_at + self.policy.edit_every, now), post)
            for post in self.posts.values()
            if post.state is PostState.SENT
            and post.live != post.shown
            and post.message_id is not None
        ]
        if not stale:
            return None
        due, post = min(stale, key=lambda item: (item[0], item[1].edited_at, item[1].number))
        due = max(due, pace.ready(self.state.pace, self.limits, now, edit=True))
        if due > now or post.message_id is None:
            return due
        return EditStep(post, edited(post).html, post.message_id)

    def _reply_to(self, post: Post) -> int | None:
        if len(post.openings) != 1:
            return None
        opening = self.posts.get(post.openings[0])
        return opening.message_id if opening else None

    def _expire(self, now: Ms) -> None:
        for post in self.waiting():
            begun = [self.posts[key] for key in post.openings if key in self.posts]
            unsaid = begun and all(p.state in (PostState.EXPIRED, PostState.FAILED) for p in begun)
            if post.close and unsaid:
                self._settled(
                    post, now, state=PostState.EXPIRED, reason="its beginning was not told"
                )
            elif post.expires < now:
                self._settled(post, now, state=PostState.EXPIRED, reason="too old to be news")
                if not post.close:
                    self._leave_out(post)

    def _leave_out(self, post: Post) -> None:
        names = tuple(dict.fromkeys((*self.state.left_names, *post.names)))[:_NAMES]
        self._know(left=self.state.left + post.count, left_names=names)

    def _collapse(self, urgent: bool) -> None:
        """Too much of one lane waits: digests take its place."""
        lane = _urgent(self.waiting())
        posts = [p for p in self.waiting() if self._unsent(p) and (p.key in lane) is urgent]
        title, crowd = "collapsed", self.policy.crowded
        if urgent:
            title, crowd = "rush", self.policy.rush
        if len(posts) <= crowd:
            return
        for topic in dict.fromkeys((post.topic, post.language) for post in posts):
            group = [post for post in posts if (post.topic, post.language) == topic]
            self._replace(group, digests(group, title))

    def _unsent(self, post: Post) -> bool:
        """Whether it waits, and has surely not arrived: it may be told in another post. A webhook
        may have taken what it did not confirm, and takes the same key once."""
        tried = post.attempts > 0 and isinstance(self.state.destination, WebhookName)
        return post.state in WAITING and not (post.again or post.doubted or tried)

    def _merge(self) -> None:
        """What waits of the same episodes becomes one post, in the place of the first; what was
        said by the last post before it is not said again."""
        waiting = {of for post in self.waiting() for of in post.episodes}
        last: dict[tuple[str, int | None, str], Post] = {}
        for post in list(self.posts.values()) if waiting else []:
            told = [(of, post.topic, post.language) for of in post.episodes if of in waiting]
            before = last.get(told[0]) if told else None
            if before is not None and all(last.get(of) is before for of in told):
                post = self._merged_into(before, post) or post
            last |= dict.fromkeys(told, post)

    def _merged_into(self, before: Post, post: Post) -> Post | None:
        """``before`` with ``post``, which needs no post of its own then; None if it does."""
        if not self._unsent(post):
            return None
        if self._unsent(before) and (both := _merged(before, post)) is not None:
            self._replace([before, post], [both])
            return both
        if _told_by(before, post):
            self._drop(post.key)
            return self._put(before, alerts=_union((before.alerts, post.alerts)))
        return None

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

    def begin(self, step: QueueStep, now: Ms) -> QueueStep:
        """``step`` is about to be made; a post gets the text that is true now."""
        self._know(pace=pace.used(self.state.pace, now, edit=isinstance(step, EditStep)))
        if not isinstance(step, SendStep):
            return step
        parts = with_present(step.post.parts, self.present)
        lines = lines_below(step.post, self.state, self.policy.late, now)
        message = rendered(replace(step.post, parts=parts), lines)
        post = self._put(
            step.post,
            state=PostState.SENDING,
            attempts=step.post.attempts + 1,
            parts=parts,
            message=message if parts else step.post.message,
            body=message.html,
            values_at=values_at(parts),
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
        self._settled(post, now, state=PostState.SENT, message_id=message_id, edited_at=now)
        if post.left:
            self._know(left=max(0, self.state.left - post.left), left_names=())
        self._works()

    def put_off(self, post: Post | None, now: Ms, until: Ms, flood: bool = False) -> None:
        """It was surely not done, and may be from ``until`` on."""
        if post is not None:
            self._put(post, state=PostState.RETRY)
        if flood:
            self._know(pace=pace.flooded(self.state.pace, now, until), flooded=True)
        else:
            self._know(pace=pace.paused(self.state.pace, until))

    def doubtful(self, post: Post | None, now: Ms, answered: bool = False) -> None:
        """Nobody knows whether it was done. ``post``: what was being sent, None: something that
        may be repeated. ``answered``: see ``Uncertain``."""
        if post is not None:
            self._put(post, state=PostState.UNCERTAIN, unread=post.unread + answered)
        first, longest = self.policy.backoff
        wait = min(longest, first * 2 ** min(self.state.troubles, _FORGIVEN))
        self._know(
            troubles=self.state.troubles + 1,
            pace=pace.paused(self.state.pace, now + wait),
        )

    def refused_markup(self, post: Post, reason: str, now: Ms) -> None:
        """The text was refused: once more as plain text, then not at all."""
        if post.markup:
            self._put(post, state=PostState.RETRY, markup=False, reason=reason)
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
        self._put(post, state=PostState.RETRY)
        if post.topic is not None:
            if post.topic not in closed:
                self.troubles.append(
                    DeliveryProblem(phrase="trouble.topic", chat=self.key, reason=reason)
                )
            self._know(closed_topics={**closed, post.topic: now + self.policy.off})

    def turned_off(self, post: Post | None, reason: str, now: Ms) -> None:
        """The chat does not let the bot post. What waits stays; later the next one is tried."""
        if post is not None and post.state is PostState.SENDING:
            self._put(post, state=PostState.RETRY)
        if not self.state.off:
            self.troubles.append(
                DeliveryProblem(phrase="trouble.off", chat=self.key, reason=reason)
            )
        self._know(off=reason, off_until=now + self.policy.off)

    def try_again(self) -> None:
        """Somebody has changed something: a chat that is off is tried at once."""
        if self.state.off:
            self._know(off_until=0)

    def moved(self, post: Post | None, to: int, now: Ms) -> None:
        """The chat is now another one, where old message numbers mean nothing."""
        if post is not None:
            self._put(post, state=PostState.RETRY)
        if self.state.moved_to == to:
            return  # known already, from another answer or from the chat itself
        self.troubles.append(DeliveryProblem(phrase="trouble.moved", chat=self.key, reason=str(to)))
        for old in list(self.posts.values()):
            if old.message_id is not None:
                self._put(old, message_id=None)
        self._know(moved_to=to, last_id=None, doomed=())

    def probed(self, step: ProbeStep, found: Edited, now: Ms) -> None:
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
            self._put(post, state=PostState.RETRY, doubted=post.skipped == 0)
            self._works()
        else:
            self._put(post, probes=post.probes + 1, skipped=post.skipped + 1)

    def _arrived(self, post: Post, now: Ms) -> None:
        *doubles, last = post.found
        self._know(doomed=(*self.state.doomed, *doubles))
        self.sent(replace(post, doubted=False), last, now)

    def unprobed(self, step: ProbeStep, now: Ms) -> None:
        """It could not be looked for."""
        post = self.posts[step.post.key]
        self._put(post, probes=post.probes + 1)
        self.doubtful(None, now)

    def edited(self, step: EditStep, found: Edited, now: Ms) -> None:
        """What came of an edit. A message that is gone is not edited again."""
        post = self.posts[step.post.key]
        lost = found in (Edited.GONE, Edited.FOREIGN)
        number = None if lost else post.message_id
        self._let_go(self._put(post, shown=step.post.live, edited_at=now, message_id=number))
        self._works()

    def deleted(self, message_id: int) -> None:
        """It is gone, or cannot be deleted."""
        doomed = tuple(number for number in self.state.doomed if number != message_id)
        self._know(doomed=doomed, undeleted=0)

    def undeleted(self, message_id: int, now: Ms) -> None:
        """It is unclear whether it was deleted; what waits behind it does not wait for ever."""
        self._know(undeleted=self.state.undeleted + 1)
        if self.state.undeleted >= self.policy.probes:
            self.deleted(message_id)
        self.doubtful(None, now)

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
