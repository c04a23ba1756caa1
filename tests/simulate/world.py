"""A run: everything together, from a seed and a list of faults to what came of it."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import msgspec

from bot.config import Settings, load
from bot.delivery.post import Post
from bot.plan.planner import NotPosted
from rules.alerts import Alert, AlertOrNotice, Notice
from streams.clock import WallClock
from streams.durations import SECOND
from streams.events import AnyEvent, Depth, FeedState, Kind, Ms, encode
from tests.simulate.agenda import Agenda
from tests.simulate.bot_role import LIVE_EVERY, TIDY_EVERY, BotModel
from tests.simulate.faults import Trouble
from tests.simulate.market import LENGTH_S, START, Market
from tests.simulate.redis_model import Crash, Killed, RedisModel
from tests.simulate.rules_role import SAVE_EVERY, SHOW_EVERY, RulesModel
from tests.simulate.streams_role import StreamsModel
from tests.simulate.telegram_model import Message, TelegramModel
from tests.simulate.venues import MODELS, Sides
from tests.simulate.wires import Wires

ASSETS = ("BTC",)
_LOOK: Ms = 500


@cache
def settings() -> Settings:
    """The rules of the simulator."""
    return load(Path(__file__).with_name("rules.toml"), {})


class DepthClaim(msgspec.Struct, frozen=True):
    """What a book said, and the venue's own book of that time (None: it had none)."""

    depth: Depth
    truth: Sides | None
    age: Ms
    """How long ago that was, on the steady clock."""


class Run(msgspec.Struct):
    """What came of a seed with some faults. Times of ``alerts`` are (steady ms, alert)."""

    seed: int
    market: Market
    faults: tuple[Trouble, ...]
    alerts: list[tuple[Ms, Alert]] = []
    notices: list[Notice] = []
    states: list[tuple[Ms, FeedState]] = []
    claims: list[DepthClaim] = []
    posts: dict[str, Post] = {}
    """Every post that was ever durable, as it was last."""
    order: list[str] = []
    """Their keys as they came."""
    messages: list[Message] = []
    not_posted: dict[str, NotPosted] = {}
    unsettled: list[str] = []
    counts: dict[str, int] = {}
    """How many entries were remembered at the end, by what they are."""
    trace: list[str] = []


class World:
    """One run."""

    def __init__(self, seed: int, faults: Sequence[Trouble]) -> None:
        self.run = Run(seed=seed, market=Market(seed), faults=tuple(faults))
        self._agenda = agenda = Agenda()
        self._offset: Ms = 0
        self._redis = RedisModel()
        self._rules_crash, self._bot_crash = Crash(), Crash()
        self._telegram = TelegramModel(agenda, faults)
        wires = Wires(agenda, faults)
        self._models = {
            name: model(seed, self.run.market, agenda) for name, model in MODELS.items()
        }
        self._streams = StreamsModel(
            [*self._models.values()], wires, agenda, self._new_clock(), ASSETS, self._write
        )
        for fault in faults:
            if fault.venue:
                self._models[fault.venue].lies.append(fault)
        self._rules: RulesModel | None = None
        self._bot: BotModel | None = None
        self._start_rules()
        self._start_bot()
        agenda.every(_LOOK, _LOOK, lambda: self._alive(self._work_rules))
        agenda.every(_LOOK + 50, _LOOK, lambda: self._alive(self._work_bot))
        agenda.every(SAVE_EVERY, SAVE_EVERY, lambda: self._alive(self._save_rules))
        agenda.every(SHOW_EVERY, SHOW_EVERY, self._show)
        agenda.every(LIVE_EVERY, LIVE_EVERY, lambda: self._alive(self._look))
        agenda.every(TIDY_EVERY, TIDY_EVERY, lambda: self._alive(self._tidy))
        for fault in faults:
            agenda.put(fault.at, lambda fault=fault: self._begin(fault))

    def play(self) -> Run:
        """All of it."""
        self._agenda.run(1000 * LENGTH_S)
        run = self.run
        run.messages = self._telegram.messages
        self._note_posts()
        if self._bot is not None:
            run.unsettled = [post.key for post in self._bot.unsettled()]
            run.not_posted |= self._bot.plan.not_posted
            run.counts |= {"posts": len(self._bot.queue.posts), "plan": len(self._bot.plan.posts)}
        return run

    def _new_clock(self) -> WallClock:
        agenda = self._agenda
        return WallClock(
            wall=lambda: (START + agenda.now + self._offset) * 1_000_000,
            steady=lambda: agenda.now * 1_000_000,
        )

    def _log(self, text: str) -> None:
        self.run.trace.append(f"{self._agenda.now / 1000:9.3f} {text}")

    # ── what goes wrong ─────────────────────────────────────────────────

    def _begin(self, fault: Trouble) -> None:
        self._log(f"fault {fault}")
        match fault.kind:
            case "cut" | "away":
                for client in self._streams.clients:
                    if client.model.name == fault.venue:
                        client.cut()
            case "rules killed":
                self._rules_crash.countdown = int(fault.size)
                self._rules_down = fault.until - fault.at
            case "bot killed":
                self._bot_crash.countdown = int(fault.size)
                self._bot_down = fault.until - fault.at
            case "clock":
                self._offset += round(fault.size * SECOND)
            case "unlisted":
                for client in self._streams.clients:
                    if client.model.name == fault.venue:
                        client.ask_relist()
            case _:
                pass

    def _alive(self, work: Callable[[], None]) -> None:
        """``work`` of a role, which may die of it."""
        try:
            work()
        except Killed:
            if work in (self._work_rules, self._save_rules):
                self._log("rules killed")
                self._rules = None
                self._agenda.put(self._agenda.now + self._rules_down, self._start_rules)
            else:
                self._kill_bot()

    def _kill_bot(self) -> None:
        self._log("bot killed")
        if self._bot is not None:
            self._bot.alive = False
        self._bot = None
        self._agenda.put(self._agenda.now + self._bot_down, self._start_bot)

    # ── the roles ───────────────────────────────────────────────────────

    def _start_rules(self) -> None:
        self._rules = RulesModel(settings(), self._redis, self._rules_crash, self._note)

    def _start_bot(self) -> None:
        def start() -> None:
            self._bot = BotModel(
                settings(), self._redis, self._bot_crash, self._new_clock(), self._telegram,
                self._kill_bot,
            )  # fmt: skip

        self._alive(start)

    def _work_rules(self) -> None:
        if self._rules is not None:
            self._rules.work()

    def _save_rules(self) -> None:
        if self._rules is not None:
            self._rules.save()

    def _show(self) -> None:
        if self._rules is not None:
            self._rules.show()

    def _work_bot(self) -> None:
        if self._bot is not None:
            before = len(self._redis.outbox)
            self._bot.work()
            if len(self._redis.outbox) != before:
                self._note_posts()
            self.run.not_posted |= self._bot.plan.not_posted

    def _look(self) -> None:
        if self._bot is not None:
            self._bot.look()

    def _tidy(self) -> None:
        if self._bot is not None:
            self._note_posts()
            self._bot.tidy()

    # ── what came of it ─────────────────────────────────────────────────

    def _write(self, event: AnyEvent) -> None:
        self._redis.events.append(encode(event))
        if isinstance(event, Depth):
            history = self._models[event.venue].history
            self.run.claims.append(
                DepthClaim(event, history.get(event.at), self._agenda.now - (event.at - START))
            )
        elif isinstance(event, FeedState) and event.kind is not Kind.VOLUME:
            self.run.states.append((self._agenda.now, event))
            if self._agenda.now > 10 * SECOND and event.kind is not Kind.LIQUIDATION:
                self._log(
                    f"feed {event.venue} {event.kind} {'up' if event.up else 'down'} {event.reason}"
                )

    def _note(self, turn: AlertOrNotice) -> None:
        if isinstance(turn, Notice):
            self.run.notices.append(turn)
            self._log(f"notice {turn.id} {turn.reason}")
            return
        self.run.alerts.append((self._agenda.now, turn))
        self._log(f"alert {turn.id} {turn.turn} {turn.level.name} {turn.value:.6g}")

    def _note_posts(self) -> None:
        for name, value in self._redis.outbox.items():
            if name.startswith("post "):
                post = msgspec.msgpack.decode(value, type=Post)
                if post.key not in self.run.posts:
                    self.run.order.append(post.key)
                self.run.posts[post.key] = post


def play(seed: int, faults: Sequence[Trouble] = ()) -> Run:
    """One run of ``seed`` with these faults."""
    return World(seed, faults).play()
