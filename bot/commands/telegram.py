"""Commands in and answers out, by long polling.

``CommandHandler`` takes each message: it decides whether that is a command, looks up what it asks
for, carries out what it changes, and replies. Whatever ends the polling is logged once and tried
again for ever: a network that is away, another program with the same token, a token that Telegram
does not take, an answer that cannot be read.
"""

import asyncio
import contextlib
import html
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot.commands import answer, denied, store
from bot.commands.access import AskLimiter, AskPace, Denial, menus, refusal
from bot.commands.context import (
    AddSilence,
    Answer,
    Asker,
    Context,
    Effect,
    EndSilence,
    PictureAnswer,
    SendTest,
    Subscribe,
    only,
)
from bot.commands.parsing import Command, CommandSpec, Mistake, link, parse
from bot.commands.press import action_of, button, commands_of, spec_of, together
from bot.commands.updates import (
    PRIVATE,
    ButtonPress,
    MessageChat,
    UserMessage,
    new_message,
    new_press,
    number,
)
from bot.commands.why import episode_query
from bot.config import Settings
from bot.config.recipients import operators_language
from bot.delivery.fate import AlertFate
from bot.delivery.pace import Lane
from bot.delivery.send_test import send_test, send_test_to_others
from bot.delivery.sinks import Busy, Gate, RefusalScope, Refused, RetryLater, SendError
from bot.delivery.sinks.telegram import TelegramClient
from bot.lang import LANGUAGES, short_tag
from bot.lang.words import Words
from bot.messages.blocks import fitted_answer, fitted_popup, plain
from bot.messages.render import Button
from bot.messages.voice import Html, say
from bot.pictures.maker import PictureFailed, PictureMaker
from bot.plan.planner import ButtonAction
from bot.plan.silences import split_by_end, with_silence, without_silence
from rules.alerts import Alert, EpisodeKey
from streams.bus.connection import in_words
from streams.bus.health import HEALTH
from streams.clock import wall_ms
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Ms
from streams.feed.errors import SayOnce

log = structlog.get_logger()

Fates = Callable[[Sequence[Alert], int], Mapping[str, Sequence[AlertFate]]]

EpisodesOf = Callable[[MessageChat, int], Sequence[EpisodeKey]]
"""A chat and the number of a message there → the episodes that the post tells of, those that go on
first; () if it is not known, or not any more."""

TOO_OLD: Ms = 2 * MINUTE
"""A question that is older, asked while the bot was away, is not answered any more."""

PICTURE_S = 3.0
"""An answer that has waited so long for its picture is sent without."""

LATE_S = 5.0
"""An answer that would come later than this is left out, and what it was to change is not done."""

MOST_CAPTION_CHARS = 1024
"""How long the text below a picture may be."""

PRESS_S = 2.0
"""A press of a button that cannot be answered within that is left out."""

SAME_TAP: Ms = 5 * SECOND
"""The same press of the same person within this is a double tap."""

MOST_PRESSES = 100
"""So many presses are answered at a time; more are left out."""

MOST_WAITING = 200
"""So many messages wait for their answers; more are left out."""

EVERY_S = 20.0
DAILY_LATE: Ms = HOUR
"""A daily status that could not be told for so long is left out until the next day."""

_STATUS = Command(name="status")
_OPERATORS_S = 60.0
_REDIS = (RedisError, OSError, TimeoutError)


class _Place(msgspec.Struct, frozen=True):
    """Where an answer goes, and until when."""

    chat: int
    topic: int | None
    lane: Lane
    deadline: float
    """In s of the loop's clock."""
    reply_to: int | None = None
    """The number of the message that it answers."""

    @property
    def left_s(self) -> float:
        """How many seconds there are until the answer is late."""
        return max(0.0, self.deadline - asyncio.get_running_loop().time())


class _Where(TypedDict):
    topic: int | None
    reply_to: int | None


class _Question(msgspec.Struct, frozen=True):
    """A command that waits for its answer."""

    command: Command | Mistake
    about: Context
    message: UserMessage
    deadline: float
    """Until when, s of the loop's clock."""

    @property
    def place(self) -> _Place:
        """The same chat and topic."""
        message = self.message
        return _Place(message.chat.id, message.topic, _lane(self.about), self.deadline)


class _PressReply(NamedTuple):
    """What the press of a button is answered with."""

    answer: Answer
    here: bool = False
    """Whether it is sent to the chat; else it is shown over the chat."""
    link: str = ""
    """What is opened in its place."""


def _lane(about: Context) -> Lane:
    """Operators are answered before others."""
    listed = about.asker.user in about.settings.operators.users
    return Lane.POST if listed else Lane.ASIDE


class CommandHandler:
    """Decides which messages are commands, looks up what they ask for, and answers.

    Questions of one chat are answered in their order, and no chat waits for another. An answer
    takes its turn at ``gate`` before anything is looked up for it.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        redis: Redis,
        telegram: TelegramClient,
        gate: Gate,
        now: Callable[[], Ms],
        fates: Fates,
        pictures: PictureMaker,
        episodes: EpisodesOf,
    ) -> None:
        self.connected = asyncio.Event()
        """Set once Telegram has been reached."""
        self._settings = settings
        self._redis = redis
        self._telegram = telegram
        self._gate = gate
        self._now = now
        self._fates = fates
        self._pictures = pictures
        self._episodes = episodes
        self._pressed: dict[tuple[int, int, int, str], Ms] = {}
        self._drawing: dict[int, str] = {}  # chats that wait for a picture, and which press's
        self._presses = 0
        self._limiter = AskLimiter()
        self._waiting: dict[int, deque[_Question]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._left_out = 0
        self._once = SayOnce()
        self._menus: object = None
        self._changing = asyncio.Lock()

    def take(self, update: Any, me: str, *, fresh: bool = True) -> None:
        """Take an update; only new messages of people, in private or in the operators' chat, count,
        and presses of buttons. ``me``: the bot's name, by which groups call it. ``fresh``: it did
        not wait for us for long.
        """
        try:
            press = new_press(update)
            message = new_message(update)
        except msgspec.ValidationError as error:
            self._warn("a message could not be read, and was left out", reason=str(error)[:200])
            return
        if press is not None:
            self._take_press(press, fresh)
        if message is None:
            return
        if message.migrate_to_chat_id is not None:
            self._gate.moved(message.chat.id, message.migrate_to_chat_id)
            return
        if (question := self._question(message, me)) is None:
            return
        full = sum(map(len, self._waiting.values())) >= MOST_WAITING
        if full and _lane(question.about) is Lane.ASIDE:
            self._leave_out()
            return
        waiting = self._waiting.setdefault(message.chat.id, deque())
        waiting.append(question)
        if len(waiting) == 1:
            task = asyncio.create_task(self._serve(message.chat.id, waiting))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop answering."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _question(self, message: UserMessage, me: str) -> _Question | None:
        """The command in ``message``, if it is for this bot."""
        settings = self._settings()
        if message.text is None or message.sender is None or not message.own_words:
            return None
        private = message.chat.type == PRIVATE
        if not private and not self._is_operators(message.chat, settings.operators.chat_id):
            return None
        if self._now() - message.date * 1000 > TOO_OLD:
            return None
        command = parse(message.text, me)
        if command is None:
            return None
        asker = Asker(user=message.sender.id, name=message.sender.name, private=private)
        # people are answered in the language of their app, a group in its own
        language = operators_language(settings)
        if private:
            language = message.sender.language or settings.language
        about = Context(
            settings=settings,
            words=LANGUAGES[language],
            app_language=private and message.sender.language is not None,
            now=self._now(),
            asker=asker,
        )
        deadline = asyncio.get_running_loop().time() + LATE_S
        return _Question(command, about, message, deadline)

    def _is_operators(self, chat: MessageChat, wanted: int | str | None) -> bool:
        if wanted is None:
            return False
        return chat.is_at(self._gate.address(wanted))

    def _take_press(self, press: ButtonPress, fresh: bool) -> None:
        if self._presses >= MOST_PRESSES:
            self._leave_out()
            return
        self._presses += 1
        task = asyncio.create_task(self._serve_press(press, fresh))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_press(self, press: ButtonPress, fresh: bool) -> None:
        try:
            await self._reply_to_press(press, fresh)
        except Busy:
            self._leave_out()
        except SendError as error:  # Telegram takes no answer to one that is old
            self._warn("a button was not answered", reason=str(error)[:200])
        except Exception:  # the next one is answered all the same
            log.exception("a button failed", button=press.data)
        finally:
            self._presses -= 1
            self._drawing = {chat: by for chat, by in self._drawing.items() if by != press.id}

    async def _reply_to_press(self, press: ButtonPress, fresh: bool) -> None:
        """Answer over the chat; what is long, and pictures, where messages are answered."""
        settings, now = self._settings(), self._now()
        pace = self._limiter.ask(press.sender.id, now)
        if pace is AskPace.IGNORE:
            return
        place = press.message.chat if press.message is not None else None
        private = place is not None and place.type == PRIVATE
        ours = place is not None and self._is_operators(place, settings.operators.chat_id)
        asker = Asker(user=press.sender.id, name=press.sender.name, private=private)
        language = press.sender.language or settings.language
        if ours and not private:
            language = operators_language(settings)
        about = Context(
            settings=settings,
            words=LANGUAGES[language],
            app_language=press.sender.language is not None,
            now=now,
            asker=asker,
        )
        began = asyncio.get_running_loop().time()
        lane = _lane(about)
        await self._gate.turn(None, PRESS_S, lane)
        try:
            async with asyncio.timeout_at(began + PRESS_S):
                reply = await self._press_reply(press, about, pace, fresh, private or ours)
        except TimeoutError:
            reply = _PressReply(only(about.say("ask.failed")))
        text = "" if reply.here or reply.link else fitted_popup(reply.answer.blocks)
        failure: SendError | None = None
        try:
            await self._telegram.answer_press(press.id, text, reply.link)
        except SendError as error:
            failure = error
        if reply.answer.to_operators:  # nobody but the presser sees what is shown over a chat
            await self._send_to_operators(reply.answer.to_operators)
        if failure is not None:
            raise failure
        if reply.here and press.message is not None:
            message = press.message
            number = message.message_id
            place = _Place(message.chat.id, message.topic, lane, began + LATE_S, number)
            await self._turn(place)
            await self._send(place, reply.answer, about)

    async def _press_reply(
        self, press: ButtonPress, about: Context, pace: AskPace, fresh: bool, answered: bool
    ) -> _PressReply:
        """What to answer, after its effects. Nothing says how old a press is that has waited for
        us, so that it changes nothing. ``answered``: messages are, where it was pressed."""
        action, message = action_of(press.data), press.message
        if pace is AskPace.WARN:
            return _PressReply(only(about.say("ask.slow")))
        if action is None:
            return _PressReply(only(about.say("press.unknown")))
        spec, user = spec_of(action), about.asker.user
        if (denial := refusal(spec, about.asker, about.settings.operators)) is not None:
            return _PressReply(only(about.say(denial.value, user=str(user))))
        if message is None:
            return _PressReply(only(about.say("press.old")))
        if (spec.changes or spec.own) and not fresh:
            return _PressReply(only(about.say("press.again")))
        tap = (user, message.chat.id, message.message_id, action)
        if self._pressed_again(tap, about.now):
            return _PressReply(Answer(blocks=()))
        episodes = self._episodes(message.chat, message.message_id)
        if not episodes and action is not ButtonAction.SUBSCRIBE:
            return _PressReply(only(about.say("press.old")))
        commands = commands_of(action, episodes, about.settings, about.now)
        if action is ButtonAction.CHART:
            if not commands:
                return _PressReply(only(about.say("press.no_chart")))
            if not answered:
                return await self._elsewhere(commands[0], about)
            if message.chat.id in self._drawing:
                del self._pressed[tap]  # the next tap is no double one
                return _PressReply(only(about.say("press.drawing")))
            self._drawing[message.chat.id] = press.id
        replies = [
            await self._carried_out(command, about, f"button {action}") for command in commands
        ]
        reply = together(replies, about)
        whole = (
            reply.picture is not None
            or action is ButtonAction.SUBSCRIBE
            or (action is ButtonAction.WHY and len(reply.blocks) > 1)
        )
        return _PressReply(reply, here=answered and whole)

    async def _elsewhere(self, chart: Command, about: Context) -> _PressReply:
        """Where a channel's readers get a picture: in their own chat with the bot."""
        if to := link(await self._telegram.name(), chart):
            return _PressReply(Answer(blocks=()), link=to)
        command = f"/{chart.name} {' '.join(chart.words)}"
        return _PressReply(only(about.say("press.elsewhere", command=command)))

    def _pressed_again(self, press: tuple[int, int, int, str], now: Ms) -> bool:
        """Whether it is one more tap, which is answered already."""
        recent = {key: at for key, at in self._pressed.items() if now - at < SAME_TAP}
        self._pressed = {**dict(list(recent.items())[-MOST_PRESSES:]), press: now}
        return press in recent

    async def _serve(self, chat: int, waiting: deque[_Question]) -> None:
        """Answer the questions of one chat, one after the other."""
        while waiting:
            question = waiting[0]
            try:
                await self._reply(question)
            except Busy:
                self._leave_out()
            except SendError as error:
                self._warn("a command was not answered", reason=str(error)[:200])
            except Exception:  # the next one is answered all the same
                log.exception("a command failed", command=question.message.text)
            waiting.popleft()
        del self._waiting[chat]

    async def _reply(self, question: _Question) -> None:
        message, about = question.message, question.about
        pace = self._limiter.ask(about.asker.user, about.now)
        if pace is AskPace.IGNORE:
            return
        await self._turn(question.place)
        reply = await self._answer(question.command, about, message, pace)
        if reply is None:
            return
        failure: Exception | None = None
        try:
            await self._send(question.place, reply, about)
        except (Busy, SendError) as error:
            failure = error
        if reply.to_operators and about.asker.private:
            await self._send_to_operators(reply.to_operators)
        if failure is not None:
            raise failure

    async def _send(self, place: _Place, reply: Answer, about: Context) -> None:
        """Answer there, with a picture above the text if there is to be one."""
        if reply.picture is not None:
            await self._send_picture(place, reply.blocks, reply.picture, about.words)
            return
        buttons = [button(action, about.words, about.settings) for action in reply.buttons]
        await self._send_answer(place, fitted_answer(reply.blocks, about.words), buttons)

    async def _send_answer(self, place: _Place, text: Html, buttons: Sequence[Button] = ()) -> None:
        """Answer there; as plain text if the markup is refused after all."""
        where: _Where = {"topic": place.topic, "reply_to": place.reply_to}
        try:
            await self._telegram.answer(place.chat, text, buttons=buttons, **where)
        except Refused as error:
            if error.scope is not RefusalScope.MARKUP:
                raise
            log.error("an answer was refused", reason=error.reason)
            await self._turn(place)
            await self._telegram.answer(place.chat, plain(text)[:4096], markup=False, **where)

    async def _send_picture(
        self, place: _Place, blocks: Sequence[Html], picture: PictureAnswer, words: Words
    ) -> None:
        """Answer with a picture above the text, or say in the text why there is none."""
        missing = picture.failed
        try:
            async with asyncio.timeout(min(PICTURE_S, place.left_s)):
                image = await self._pictures.make(picture.request, asked=True)
            if image is not None:
                caption = fitted_answer((*blocks, picture.about), words, MOST_CAPTION_CHARS)
                await self._telegram.answer_picture(
                    place.chat, image, caption, topic=place.topic, reply_to=place.reply_to
                )
                return
            missing = picture.nothing
        except (PictureFailed, TimeoutError) as error:
            self._warn("a picture was not made", reason=str(error) or "its time was over")
        except Refused as error:
            self._warn("a picture was refused", reason=error.reason)
            await self._turn(place)
        await self._send_answer(place, fitted_answer((*blocks, missing), words))

    async def _turn(self, place: _Place) -> None:
        await self._gate.turn(place.chat, place.left_s, place.lane)

    def _leave_out(self) -> None:
        self._left_out += 1
        self._warn("more is asked than can be answered in time; answers are left out",
                  so_far=self._left_out)  # fmt: skip

    def _warn(self, event: str, **more: object) -> None:
        """Log each event once in ten minutes, however often somebody causes it."""
        if self._once.is_news(event, self._now()):
            log.warning(event, **more)

    async def _answer(
        self,
        command: Command | Mistake,
        about: Context,
        message: UserMessage,
        pace: AskPace,
    ) -> Answer | None:
        """What to reply, after its effects; None: nothing."""
        if pace is AskPace.WARN:
            return only(about.say("ask.slow"))
        if message.sender_chat is not None:
            return only(about.say("ask.no.anonymous"))
        if refused := denied(command, about):
            strange = refused[0] is Denial.STRANGER
            once = not strange or self._limiter.refuse(about.asker.user, about.now)
            return refused[1] if once else None
        return await self._carried_out(command, about, message.text or "")

    async def _carried_out(self, command: Command | Mistake, about: Context, text: str) -> Answer:
        """What to reply to who may ask, after its effects. ``text``: for the log."""
        try:
            async with self._changing:  # what is looked up still holds when it is changed
                about = await self._looked_up(command, about)
                reply = answer(command, about)
                for effect in reply.effects:
                    await self._change(effect)
            done = await self._test() if SendTest() in reply.effects else []
        except _REDIS as error:
            return only(about.say("ask.redis", reason=in_words(error)))
        except Exception:  # the asker gets an answer all the same, and the bug is in the log
            log.exception("a command failed", command=text)
            return only(about.say("ask.failed"))
        return msgspec.structs.replace(reply, blocks=(*reply.blocks, *done))

    async def _looked_up(self, command: Command | Mistake, about: Context) -> Context:
        """``about`` with all that an answer may be made of."""
        if isinstance(command, Mistake):
            return about
        redis, user = self._redis, about.asker.user
        subscription, count = await store.subscribers(redis, user)
        language = about.words
        if about.asker.private and subscription is not None and not about.app_language:
            language = LANGUAGES.get(subscription.language, language)
        alerts = await store.episode(redis, episode_query(command)) if command.name == "why" else ()
        return msgspec.structs.replace(
            about,
            words=language,
            standing=await store.standing(redis),
            reports=await store.role_reports(redis, writing=command.name == "status"),
            silences=await store.silences(redis),
            alerts=alerts,
            fates=self._fates(alerts, user),
            subscription=subscription,
            subscribers=count,
        )

    async def _change(self, effect: Effect) -> None:
        """What an answer changes in Redis."""
        match effect:
            case AddSilence(silence):
                await store.change_silences(self._redis, lambda all_: with_silence(all_, silence))
            case EndSilence(family, asset, critical):
                await store.change_silences(
                    self._redis, lambda all_: without_silence(all_, family, asset, critical)
                )
            case Subscribe(subscription):
                await store.save_subscription(self._redis, subscription)
            case SendTest():
                pass

    async def _test(self) -> list[Html]:
        """A test message to every chat, webhook and messenger; what came of each."""
        settings = self._settings()
        outcomes = (
            *await send_test(self._telegram.bot, settings),
            *await send_test_to_others(settings),
        )
        return [Html(html.escape(outcome.text, quote=False)) for outcome in outcomes]

    async def end_silences(self) -> None:
        """Take away silences that are over, and inform operators; never returns."""
        while True:
            await asyncio.sleep(EVERY_S)
            with contextlib.suppress(*_REDIS):
                await self._end_silences()

    async def tell_status_daily(self) -> None:
        """Give operators the status once a day, when they have asked for that; never returns."""
        await self.connected.wait()
        while True:
            with contextlib.suppress(*_REDIS):
                await self._tell_daily_status()
            await asyncio.sleep(EVERY_S)

    async def _tell_daily_status(self) -> None:
        settings, now = self._settings(), self._now()
        if settings.operators.status_at is None or settings.operators.chat_id is None:
            return
        at = settings.operators.status_at.last_until(now)
        if await store.daily_status_told(self._redis) >= at:
            return
        if now - at <= DAILY_LATE:
            words = LANGUAGES[operators_language(settings)]
            asker = Asker(user=0, name="", private=False)
            about = Context(settings=settings, words=words, now=now, asker=asker)
            about = await self._looked_up(_STATUS, about)
            text = fitted_answer(answer(_STATUS, about).blocks, words)
            if not await self._send_to_operators(text):
                return
        await store.keep_daily_status_told(self._redis, at)

    async def show_menus(self) -> None:
        """Keep the menus of commands up to date; never returns."""
        await self.connected.wait()
        while True:
            await self._offer_menus()
            await asyncio.sleep(EVERY_S)

    async def _offer_menus(self) -> None:
        """Tell Telegram which commands to show, and where, whenever that has changed."""
        settings = self._settings()
        operators, own = settings.operators, settings.language
        chat = None if operators.chat_id is None else self._gate.address(operators.chat_id)
        wanted = (operators, own, operators_language(settings), chat)
        if wanted == self._menus:
            return
        public, inside = menus(operators)
        try:
            await self._telegram.offer(_menu(public, own))
            if chat is not None:
                await self._telegram.offer(_menu(inside, operators_language(settings)), chat)
            for language in LANGUAGES:
                if language != own:
                    code = short_tag(language)
                    await self._telegram.offer(_menu(public, language), language_code=code)
            self._menus = wanted
        except SendError as error:
            if isinstance(error, Refused):
                self._menus = wanted  # trying again would not help
            self._warn("the menu of commands was not set", reason=str(error)[:200])

    async def _end_silences(self) -> None:
        over = split_by_end(await store.silences(self._redis), self._now())[1]
        if not over:
            return
        await store.change_silences(
            self._redis, lambda all_: tuple(silence for silence in all_ if silence not in over)
        )
        words = LANGUAGES[operators_language(self._settings())]
        for silence in over:
            log.info("a silence is over", rule=silence.family, asset=silence.asset)
            who, key = (
                silence.by or "?",
                "ask.tell.unpaused" if silence.critical else "ask.tell.over",
            )
            text = say(words, key, rule=silence.family, asset=silence.asset, who=who)
            await self._send_to_operators(text)

    async def _send_to_operators(self, text: Html) -> bool:
        """Send ``text`` to the operators' chat, if there is one, without a sound. Whether that was
        done."""
        chat = self._settings().operators.chat_id
        if chat is None:
            return False
        try:
            await self._gate.turn(chat, _OPERATORS_S, Lane.POST)
            await self._telegram.answer(self._gate.address(chat), text, silent=True)
        except (Busy, SendError) as error:
            log.warning("operators were not told", reason=str(error)[:200])
            return False
        return True


def _menu(specs: Sequence[CommandSpec], language: str) -> list[tuple[str, str]]:
    phrases = LANGUAGES[language].phrases
    return [(spec.name, phrases[f"ask.menu.{spec.name}"]) for spec in specs]


KINDS = ("message", "callback_query")
"""The updates that are asked for."""

POLL_S = 30.0
PAUSE_S = 0.2
"""Between two polls: a message whose number cannot be read comes again at once."""

STOP_S = 0.5
"""What confirming the last messages may take at the end."""

_AGAIN_S = (1.0, 30.0)
_WHO = "the answering of commands"


async def serve(
    settings: Callable[[], Settings],
    redis: Redis,
    telegram: TelegramClient,
    gate: Gate,
    *,
    now: Callable[[], Ms] = wall_ms,
    fates: Fates = lambda _alerts, _user: {},
    hear: Callable[[str], None] = lambda _trouble: None,
    pictures: PictureMaker | None = None,
    episodes: EpisodesOf = lambda _chat, _message: (),
) -> None:
    """Answer commands until cancelled. ``settings``: gives those that hold now.

    ``gate``: the one that ``telegram`` has joined. ``fates``: what became of alerts, for a user.
    ``hear``: is told after each poll why Telegram does not answer, "" if it does. ``pictures``: who
    makes them; None: one of its own. ``episodes``: which a post tells of.
    """
    handler = CommandHandler(
        settings, redis, telegram, gate, now, fates, pictures or PictureMaker(), episodes
    )
    polling = _Polling(handler, telegram, hear)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(handler.end_silences())
            tasks.create_task(handler.show_menus())
            tasks.create_task(handler.tell_status_daily())
            tasks.create_task(polling.run())
    finally:
        HEALTH.works(_WHO)  # whoever ends it says why
        await handler.close()
        await polling.confirm()


class _Polling:
    """Asks Telegram for messages, and passes them to the handler."""

    def __init__(
        self, handler: CommandHandler, telegram: TelegramClient, hear: Callable[[str], None]
    ) -> None:
        self._handler = handler
        self._telegram = telegram
        self._hear = hear
        self._offset = self._confirmed = 0
        self._works = False
        self._once = SayOnce()

    async def run(self) -> None:
        """Never returns."""
        wait, longest = _AGAIN_S
        while True:
            try:
                if not self._works:
                    await self._telegram.clear_webhook()
                await self._poll()
            except SendError as error:
                flood = error.seconds if isinstance(error, RetryLater) and error.flood else 0.0
                self._failed(error, max(wait, flood))
                await asyncio.sleep(max(wait, flood))
                wait = min(wait * 2, longest)
                continue
            wait = _AGAIN_S[0]
            await asyncio.sleep(PAUSE_S)

    async def confirm(self) -> None:
        """Tell Telegram what has been read, so that it is not sent to the next who asks."""
        if self._works and self._offset > self._confirmed:
            task = asyncio.ensure_future(self._telegram.updates(self._offset, 0, KINDS))
            await asyncio.wait([task], timeout=STOP_S)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _poll(self) -> None:
        me = await self._telegram.name()
        # the first poll does not wait, to know at once whether it works
        fresh = self._works
        wait_s = POLL_S if self._works else 0
        updates = await self._telegram.updates(self._offset, wait_s, KINDS)
        if not self._works:
            log.info("commands are answered", bot=me)
            self._works = True
            self._once.forget()
            HEALTH.works(_WHO)
            self._handler.connected.set()
        self._hear("")
        self._confirmed = self._offset
        for update in updates:
            if (last := number(update)) is not None:
                self._offset = max(self._offset, last + 1)
            self._handler.take(update, me, fresh=fresh)

    def _failed(self, error: SendError, pause_s: float) -> None:
        """Log each kind of failure in a row once. One that lasts is an alarm, if Telegram answers:
        where it cannot be reached, operators cannot be either."""
        self._works = False
        self._hear(error.reason[:200])
        if isinstance(error, Refused) or getattr(error, "answered", False):
            HEALTH.failing(_WHO, error.reason)
        kind = type(error).__name__
        if self._once.is_news(kind + error.reason[:20], 0):
            log.warning(f"commands are not answered: {error.reason[:200]}", next_try_s=pause_s)
