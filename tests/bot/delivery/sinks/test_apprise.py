"""Posts through the command apprise: the real one against a local server, and made ones that end in
every way."""

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from bot.delivery.sinks import (
    OutcomeUnknown,
    Receipt,
    RefusalScope,
    Refused,
    RetryLater,
    SendError,
    Sinks,
)
from bot.delivery.sinks.apprise import Apprise, command_missing, judge_end
from bot.delivery.sinks.services import apprise_call
from bot.destination import MessengerName, Service
from bot.messages.blocks import plain
from bot.messages.render import Message
from rules.alerts import Level, Turn
from streams.proxies import proxies
from tests.bot.delivery.sinks.posts import FUNDING
from tests.bot.delivery.test_sender import chat, openings, running, say, until
from tests.bot.posts import START
from tests.bot.receiver import Receiver
from tests.bot.sinks import Numbered

DESK = MessengerName(Service.APPRISE, "desk")
SECRET = "tk_S3CR3T"
BIN = Path(sys.executable).parent
"""Where a developer's environment has the real one."""

CHAT, MESSAGE = RefusalScope.CHAT, RefusalScope.MESSAGE


def message(text: str, level: Level = Level.ALERT, turn: Turn = Turn.OPEN) -> Message:
    return Message(
        alert_id="id", asset="BTC", rule="r", turn=turn, level=level,
        silent=False, html=text, plain=plain(text), at=START,
    )  # fmt: skip


def test_the_first_line_is_the_title_and_the_level_the_kind():
    call = apprise_call(message(FUNDING))
    assert call.kind == "warning"
    assert call.title == "🟠 BTC funding negative: −0.0031%\u00a0/\u00a08h (−3.4% a year)"
    assert call.body.splitlines() == [
        "First negative since 23 Aug (41 days). OI-weighted, 4 venues.",
        "Price $112,400, 24h −1.8%. Shorts now pay longs.",
        "#BTC #funding · settled 08:00 UTC",
    ]
    assert apprise_call(message("<b>one line</b>")).title == ""
    assert apprise_call(message("<b>one line</b>")).body == "one line"
    kinds = [apprise_call(message("x", level)).kind for level in (Level.WATCH, Level.CRITICAL)]
    assert kinds == ["info", "failure"]
    assert apprise_call(message("x", Level.CRITICAL, Turn.CLOSE)).kind == "info"


def test_a_long_text_loses_whole_lines_and_what_cannot_be_seen_is_escaped():
    call = apprise_call(message("h" * 600 + "\n" + "line\n" * 900 + "#BTC"))
    assert len(call.title) == 250
    assert len(call.body) <= 4_000 and call.body.endswith("line\n#BTC")
    call = apprise_call(message("a\x1b[31m\x00\ud800\n\u202eb\x07"))
    assert (call.title, call.body) == (r"a\x1b[31m\x00\ud800", r"\u202eb\x07")


# What each end means.

LOG = "2026-11-27 22:46:47,429 - {} - {}\n"
FAILED = LOG.format("WARNING", "Failed to send JSON POST notification: {}error={}.")


def failed(*statuses: int) -> str:
    return "".join(FAILED.format("Why., ", status) for status in statuses)


@pytest.mark.parametrize(
    ("code", "output", "kind", "scope"),
    [
        (1, failed(429), RetryLater, None),
        (1, LOG.format("WARNING", "Too Many Requests"), RetryLater, None),
        (1, failed(401), Refused, CHAT), (1, failed(403), Refused, CHAT),
        (1, failed(404), Refused, CHAT), (1, failed(410), Refused, CHAT),
        (1, failed(302), Refused, CHAT),
        (1, failed(400), Refused, MESSAGE), (1, failed(413), Refused, MESSAGE),
        (1, failed(408), OutcomeUnknown, None),
        (1, failed(500), OutcomeUnknown, None), (1, failed(503), OutcomeUnknown, None),
        (1, failed(404, 503), OutcomeUnknown, None), (1, failed(429, 500), OutcomeUnknown, None),
        (1, LOG.format("WARNING", "A Connection error occurred sending JSON notification to x."),
         OutcomeUnknown, None),
        (1, LOG.format("ERROR", f"Unloadable URL json://{SECRET}"), Refused, CHAT),
        (1, "You must specify at least one service URL or populated\n", Refused, CHAT),
        (1, "Traceback (most recent call last):\nImportError", OutcomeUnknown, None),
        (1, "", OutcomeUnknown, None),
        (2, "Error: No such option '--x'.", Refused, CHAT),
        (3, "", Refused, CHAT),
        (4, failed(404), OutcomeUnknown, None),
        (1, LOG.format("INFO", "Sent SMS notification to 1.") + failed(404), OutcomeUnknown, None),
        (5, "", OutcomeUnknown, None),
        (70, failed(404), OutcomeUnknown, None),
        (-9, "", OutcomeUnknown, None),
    ],
)  # fmt: skip
def test_an_end_says_how_much_is_refused(
    code: int, output: str, kind: type[SendError], scope: object
):
    with pytest.raises(SendError) as caught:
        judge_end(code, f"{LOG.format('INFO', 'Notifying 1 service(s).')}{output}", "apprise:desk")
    assert type(caught.value) is kind
    assert getattr(caught.value, "scope", None) is scope
    assert SECRET not in str(caught.value)
    assert caught.value.reason.startswith("apprise:desk") and caught.value.reason.isprintable()


def test_exit_0_is_taken_whatever_is_printed():
    assert judge_end(0, failed(404), "apprise") is None


def test_what_some_of_several_have_is_not_sent_again_for_ever():
    for code, output in ((4, ""), (1, LOG.format("INFO", "Sent x.")), (1, "odd"), (70, "")):
        with pytest.raises(OutcomeUnknown) as caught:
            judge_end(code, output, "x")
        assert caught.value.answered
    with pytest.raises(OutcomeUnknown) as caught:
        judge_end(1, failed(500), "x")
    assert not caught.value.answered


# The real command.


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        server.usual = 200
        yield server


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))  # neither its configuration nor its files are ours
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", SECRET)
    if shutil.which("apprise") is None:
        pytest.skip("the command apprise is not installed here: see requirements-dev.lock")


def address(receiver: Receiver) -> str:
    return f"{receiver.url.replace('http://', f'json://me:{SECRET}@')}/{SECRET}"


async def outcome(sink: Apprise, text: str = FUNDING) -> SendError | Receipt:
    try:
        return await sink.send(DESK, message(text), key="k")
    except SendError as error:
        return error


async def test_the_real_command_posts_what_readers_see(real: None, receiver: Receiver):
    sink = Apprise(
        {"desk": address(receiver)}, proxies=proxies({"ALL_PROXY": "http://127.0.0.1:9"})
    )
    assert (await sink.check(DESK)).title == "apprise:desk"
    assert await outcome(sink) == Receipt()
    (body,) = receiver.bodies
    assert body["title"] == "🟠 BTC funding negative: −0.0031%\u00a0/\u00a08h (−3.4% a year)"
    assert body["message"].splitlines()[-1] == "#BTC #funding · settled 08:00 UTC"
    assert body["type"] == "warning"
    assert receiver.paths == [f"/hook/{SECRET}"]


@pytest.mark.parametrize(
    ("status", "kind", "scope"),
    [(429, RetryLater, None), (404, Refused, CHAT), (400, Refused, MESSAGE),
     (503, OutcomeUnknown, None)],
)  # fmt: skip
async def test_what_the_real_command_says_of_an_answer_is_understood(
    real: None, receiver: Receiver, status: int, kind: type[SendError], scope: object
):
    receiver.statuses.append(status)
    error = await outcome(Apprise({"desk": address(receiver)}), "-x --y\n<b>中文</b> #1 = «日本»")
    assert type(error) is kind, error
    assert getattr(error, "scope", None) is scope
    assert SECRET not in f"{error!r} {error.__cause__!r} {error.__context__!r}"
    (body,) = receiver.bodies
    assert (body["title"], body["message"]) == ("-x --y", "中文 #1 = «日本»")


async def test_the_real_command_without_a_server_or_an_address(real: None):
    error = await outcome(Apprise({"desk": f"json://127.0.0.1:1/{SECRET}"}))
    assert type(error) is OutcomeUnknown and "gives no answer" in error.reason
    error = await outcome(Apprise({"desk": f"nothing://{SECRET}"}))
    assert type(error) is Refused and error.scope is CHAT
    assert error.reason == "apprise:desk has no usable address"


# Made commands.


class Fake:
    """A command ``apprise`` of our own; ``asked``: with what it was called, each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def does(self, script: str) -> None:
        """From now on it writes down how it is called, then runs the Python ``script``."""
        program = self.folder / "bin" / "apprise"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"#!{sys.executable} -I\n"
            "import json, os, subprocess, sys, time\n"
            f"with open({str(self.folder / 'asked')!r}, 'a') as log:\n"
            "    body = sys.stdin.read()\n"
            "    print(json.dumps([sys.argv[1:], dict(os.environ), body]), file=log)\n"
            f"{script}\n"
        )
        program.chmod(0o755)

    @property
    def asked(self) -> list[Any]:
        path = self.folder / "asked"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    command = Fake(tmp_path)
    command.does("")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return command


def desk(limit_s: float = 20.0) -> Apprise:
    return Apprise({"desk": f"json://host/{SECRET}", "other": "json://host/2"}, limit_s)


async def test_the_address_is_in_its_environment_alone_and_nothing_else_of_ours(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
):
    for name in ("TELEGRAM_BOT_TOKEN", "LOWTIDE_APPRISE_URL_DESK", "REDIS_URL"):
        monkeypatch.setenv(name, "0UR5")
    assert await outcome(desk()) == Receipt()
    ((arguments, env, body),) = fake.asked
    assert env["APPRISE_URLS"] == f"json://host/{SECRET}"
    assert SECRET not in " ".join(arguments) + body
    assert "0UR5" not in json.dumps(env)
    assert "127.0.0.1" in env["NO_PROXY"]
    assert body.splitlines()[-1] == "#BTC #funding · settled 08:00 UTC"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("sys.exit(0)", Receipt),
        ("print('x - WARNING - error=429.'); sys.exit(1)", RetryLater),
        ("print('x - WARNING - error=404.', file=sys.stderr); sys.exit(1)", Refused),
        ("sys.exit(2)", Refused),
        ("sys.exit(4)", OutcomeUnknown),
        ("os.kill(os.getpid(), 15)", OutcomeUnknown),
        ("sys.stdout.buffer.write(b'\\x1b[2J\\xff\\x00' * 99); sys.exit(1)", OutcomeUnknown),
    ],
)
async def test_each_end_of_a_process(fake: Fake, script: str, kind: type):
    fake.does(script)
    end = await outcome(desk())
    assert type(end) is kind
    assert isinstance(end, Receipt) or end.reason.isprintable()


def alive(pid: int) -> bool:
    """A zombie, of whom init has not taken leave yet, is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


HANGS = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({path!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(600)
"""


async def test_one_that_hangs_is_killed_with_what_it_has_begun(fake: Fake, tmp_path: Path):
    fake.does(HANGS.format(path=str(tmp_path / "pids")))
    began = time.monotonic()
    error = await outcome(desk(1.0))
    assert type(error) is OutcomeUnknown and error.reason == (
        "apprise:desk: apprise takes longer than 1 s"
    )
    assert time.monotonic() - began < 5
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    await until(lambda: not any(map(alive, pids)), 5)


async def test_a_post_that_is_given_up_leaves_no_process(fake: Fake, tmp_path: Path):
    fake.does(HANGS.format(path=str(tmp_path / "pids")))
    sending = asyncio.create_task(outcome(desk()))
    await until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text(), 10)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    await until(lambda: not any(map(alive, pids)), 5)


async def test_one_that_prints_without_end_costs_no_memory_and_is_killed(
    fake: Fake, tmp_path: Path
):
    """What is read of it: 64 KB; the rest of a MB is in the pipe and in asyncio's buffers."""
    fake.does(
        f"count, printed = os.open({str(tmp_path / 'printed')!r}, os.O_CREAT | os.O_WRONLY), 0\n"
        "while True:\n"
        "    printed += os.write(1, bytes(4096))\n"
        "    os.pwrite(count, str(printed).encode(), 0)"
    )
    error = await outcome(desk(2.0))
    assert type(error) is OutcomeUnknown
    assert 65_536 <= int((tmp_path / "printed").read_text()) < 2**20


async def test_one_that_ends_while_another_holds_its_output_has_ended(fake: Fake):
    fake.does("subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(9)'])")
    began = time.monotonic()
    assert await outcome(desk()) == Receipt()
    assert time.monotonic() - began < 5


async def test_one_process_at_a_time_for_each_chat_and_none_waits_for_another_chat(
    fake: Fake, tmp_path: Path
):
    marks = tmp_path / "marks"
    fake.does(
        f"open({str(marks)!r}, 'a').write('(')\n"
        f"time.sleep(0.3)\nopen({str(marks)!r}, 'a').write(')')"
    )
    sink = desk()
    assert await asyncio.gather(outcome(sink), outcome(sink), outcome(sink)) == [Receipt()] * 3
    assert marks.read_text() == "()()()"
    fake.does("time.sleep(600 if 'host/2' not in os.environ['APPRISE_URLS'] else 0)")
    hung = asyncio.create_task(outcome(sink))
    async with asyncio.timeout(10):
        other = MessengerName(Service.APPRISE, "other")
        assert await sink.send(other, message("x")) == Receipt()
    hung.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hung


async def test_without_the_command_nothing_is_posted_and_how_to_get_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    for call in (desk().check(DESK), desk().send(DESK, message("x"))):
        with pytest.raises(Refused, match="not on PATH: install it, such as by pipx") as caught:
            await call
        assert caught.value.scope is CHAT
    assert command_missing("apprise").startswith("apprise: the command apprise is not on PATH")


@pytest.mark.parametrize("first_line", ["#!/nowhere/python", "not a program at all"])
async def test_a_command_that_cannot_be_started_is_said_to_be_broken(fake: Fake, first_line: str):
    (fake.folder / "bin" / "apprise").write_text(f"{first_line}\n")
    error = await outcome(desk())
    assert type(error) is Refused and "cannot be started: install it again" in error.reason


async def test_a_machine_without_a_process_to_give_has_surely_sent_nothing(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
):
    async def none(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", none)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        error = await outcome(desk())
        assert type(error) is RetryLater and not error.in_doubt
    await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2, "no pipe is left open"


async def test_what_is_not_configured_is_refused(fake: Fake):
    for to in (MessengerName(Service.APPRISE), MessengerName(Service.SLACK, "desk")):
        with pytest.raises(Refused, match="is not in"):
            await desk().check(to)
        with pytest.raises(Refused, match="is not in"):
            await desk().send(to, message("x"))
    with pytest.raises(Refused, match="takes no pictures"):
        await desk().picture(DESK, b"\x89PNG", "x", reply_to=None)
    assert fake.asked == []


async def test_the_outbox_sends_again_what_is_in_doubt_and_says_so(
    redis: Redis, tmp_path: Path, fake: Fake
):
    seen = tmp_path / "seen"
    fake.does(
        f"if not os.path.exists({str(seen)!r}):\n"
        f"    open({str(seen)!r}, 'w'); print('error=503.'); sys.exit(1)"
    )
    ways = Sinks(Numbered(), messengers={Service.APPRISE: desk()})
    async with running(redis, tmp_path, ways, chat(0, destination=DESK)) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: role.status().sent == 1, 60)
    (_, _, first), (_, _, second) = fake.asked
    assert "perhaps" not in first and len(second) > len(first)
