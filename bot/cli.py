"""What the commands of the command line do.

What only some of them need is imported where they begin: ``lowtide status`` may be asked each
minute.
"""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import msgspec
import orjson
import structlog
from redis.exceptions import RedisError

from bot.config import ConfigError, Settings, load, load_tests
from bot.config.environment import environment, misspelt, open_to_others
from bot.config.recipients import chats
from bot.config.schema import json_schema
from bot.config.source import (
    OWN,
    SHIPPED,
    config_path,
    home,
    is_packaged,
    is_shipped,
    tests_file,
)
from bot.config.values import count
from bot.config.values import url as valid_url
from bot.destination import ConsoleOutput, Service
from bot.lang import LANGUAGES, unknown_language
from bot.logs import configure
from bot.redaction import redact
from bot.repair import explained
from streams.bus import connection
from streams.bus.embedded import CannotStart
from streams.durations import MINUTE
from streams.sources import SOURCES
from streams.venues import VENUES

log = structlog.get_logger()

_DEMO_SPEED = 200.0
"""How many times faster than life its story is played unless somebody says otherwise."""

_ROLES = ("run", "streams", "rules", "bot")
_QUIET = (
    "demo", "replay", "status", "repair", "check", "show", "preview", "test", "send-test",
    "backtest", "score", "report", "tune", "history", "init", "service", "backup", "restore",
    "config", "verify",
)  # fmt: skip
"""Commands whose answer is not to be mixed with a log."""


def do(options: argparse.Namespace) -> NoReturn:
    """Run the command and exit: 0 done, 1 failed, 2 something to mend first."""
    configure("WARNING" if options.command in _QUIET else "INFO")
    try:
        if options.command == "init":
            code = _init(options)
        else:
            settings = _settings(options)
            connection.use_prefix(settings.redis_prefix)
            code = _do(options, settings)
        sys.stdout.flush()  # here it is known what to do where nobody reads on
        sys.exit(code)
    except ConfigError as error:
        _fail(str(error), 2)
    except CannotStart as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _init(options: argparse.Namespace) -> int:
    from bot.config.reload import checked, in_short
    from bot.init.dialogue import Dialogue
    from bot.init.files import InitError, own_path

    try:
        api_url = options.api_url and valid_url(options.api_url, ("https", "http"))
        path = own_path(options.config, os.environ)
        env = environment(os.environ, path.parent)
        written = Dialogue(path, env, api_url, schema=_schema()).run()
    except InitError as error:
        _fail(str(error), 2)
    except ValueError as error:
        _fail(f"--api-url {error}", 2)
    except OSError as error:
        _fail(f"cannot read {error.filename}: {error.strerror}", 2)
    print(f"\nWritten: {' and '.join(map(str, written))}\n")  # noqa: T201
    settings, tests = checked(path, os.environ)
    print(in_short(settings, tests))  # noqa: T201
    for line in _doubts(settings):
        print(f"warning: {line}")  # noqa: T201
    named = "" if path in (Path(OWN), Path(SHIPPED.name)) else f" --config {path}"
    lowtide = f"lowtide {{}}{named}" if is_packaged() else f".venv/bin/lowtide {{}}{named}"
    print()  # noqa: T201
    if settings.token is not None and asyncio.run(_send_test(settings)):
        _fail(f"Mend that, then try again: {lowtide.format('send-test')}", 1)
    print(f"All that it means: {lowtide.format('check')}")  # noqa: T201
    print(f"Start it: {lowtide.format('run')}")  # noqa: T201
    return 0


def _config(options: argparse.Namespace, settings: Settings) -> None:
    if options.action == "schema":
        print(_schema())  # noqa: T201
        return
    from bot.config.edit import set_key  # running roles do without tomlkit

    _answer("set it", lambda: set_key(settings, options.key, options.value, os.environ))


def _schema() -> str:
    schema = json_schema(sorted(VENUES), sorted(LANGUAGES), sorted(SOURCES))
    return msgspec.json.format(msgspec.json.encode(schema), indent=1).decode()


def _settings(options: argparse.Namespace) -> Settings:
    path = config_path(options.config, os.environ)
    try:
        if options.command in _ROLES:
            return _tried(path)
        return load(path, environment(os.environ, home(path)))
    except OSError as error:
        _fail(f"cannot read {error.filename}: {error.strerror}", 2)


def _tried(path: Path) -> Settings:
    """The settings of a start, which are tried as those of a running Lowtide are."""
    from bot.config.reload import Rejected, checked, in_short

    try:
        settings, tests = checked(path, os.environ)
    except Rejected as error:
        _fail(str(error), 2)
    configure(settings.log_level.upper(), form=settings.log_format)
    log.info("configuration", what=in_short(settings, tests))
    for line in _doubts(settings):
        log.warning(line)
    return settings


def _do(options: argparse.Namespace, settings: Settings) -> int:
    match options.command:
        case "check":
            _check(settings)
        case "config":
            _config(options, settings)
        case "show":
            _show(settings, options.asset)
        case "preview":
            _preview(options, settings)
        case "test":
            return _test(settings)
        case "send-test":
            return asyncio.run(_send_test(settings))
        case "demo":
            _demo(options, settings)
        case "service":
            return _service(options, settings)
        case "repair":
            code, text = explained(settings.data_dir)
            print(text)  # noqa: T201
            return code
        case "backup" | "restore":
            return asyncio.run(_kept(options, settings))
        case "status":
            return asyncio.run(_status(settings, options.json))
        case "verify":
            return asyncio.run(_verify(options, settings))
        case "record":
            return asyncio.run(_record(options, settings))
        case "replay":
            return asyncio.run(_replay(options.files, settings))
        case "backtest" | "score":
            _judge_history(options, settings)
        case "report":
            _report(options, settings)
        case "tune":
            _tune(options, settings)
        case "history":
            return asyncio.run(_get_history(options, settings))
        case name:
            from bot.roles.run import ROLES, run  # the other commands need not wait for its imports

            if name == "run" and options.dry_run:
                settings = _dry(settings)
            os.umask(0o077)  # what is written here is for whoever runs it
            roles = ROLES if name == "run" else (name,)
            asides = _asides(settings, roles)
            terminal = sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
            if name == "run" and terminal and settings.log_format == "logfmt":
                asides.append(_with_status_line(settings))
            asyncio.run(run(settings, roles, asides=asides))
    return 0


_Aside = Callable[[str], Coroutine[None, None, None]]


def _with_status_line(settings: Settings) -> _Aside:
    """A line at the bottom of the terminal; the log and messages go above it."""
    from bot.status_line import StatusLine, keep_line

    line = StatusLine(sys.stderr)
    configure(settings.log_level.upper(), line.above(sys.stderr))
    if sys.stdout.isatty():
        sys.stdout = line.above(sys.stdout)
    return lambda redis_url: keep_line(line, redis_url)


def _asides(settings: Settings, roles: Sequence[str]) -> list[_Aside]:
    """Metrics, health and life signs, in the one process that has the bot role."""
    asides: list[_Aside] = []
    if "bot" in roles and (address := settings.web) is not None:
        from bot.web.server import serve_web

        asides.append(lambda redis_url: serve_web(settings, redis_url, address))
    if "bot" in roles and (push_url := settings.push_url) is not None:
        from bot.web.push import push_life_signs

        asides.append(lambda redis_url: push_life_signs(settings, redis_url, push_url))
    return asides


def _dry(settings: Settings) -> Settings:
    """Nobody is told, and what a real Lowtide has in its Redis is left to it."""
    return msgspec.structs.replace(
        settings,
        token=None,
        webhooks=(),
        messengers=(),
        redis_url=None,
        web=None,
        push_url=None,
        data_dir=settings.data_dir / "dry-run",
    )


def _check(settings: Settings) -> None:
    from bot.config.explain import describe
    from bot.config.reload import Rejected, passed_tests

    try:
        passed = passed_tests(settings)
    except Rejected as error:
        _fail(str(error), 2)
    tests, failed = _shipped_tests(settings) if is_shipped(settings.path) else (passed, 0)
    print(describe(settings))  # noqa: T201
    print(f"\n{count(tests, 'rule test')}: lowtide test")  # noqa: T201
    doubts = _doubts(settings)
    if failed:
        doubts.append(
            f"{settings.path.name} comes with Lowtide and was changed, so that"
            f" {failed} of its rule tests cannot pass any more, and"
            f' git pull will stop at it: put what differs into {OWN}, after extends = "shipped"'
        )
    for line in doubts:
        print(f"warning: {line}")  # noqa: T201


def _shipped_tests(settings: Settings) -> tuple[int, int]:
    """How many rule tests come with Lowtide, and how many of them do not hold."""
    from bot.config import ruletests

    try:
        outcomes = ruletests.run_all(load_tests(settings), settings)
    except ConfigError as error:
        return len(settings.tests), len(error.problems)
    return len(outcomes), sum(not outcome.passed for outcome in outcomes)


def _doubts(settings: Settings) -> list[str]:
    """What is allowed and probably not meant: in the configuration, and around it."""
    from bot.config.warnings import warnings
    from bot.pictures.maker import library_missing

    folder = home(settings.path)
    names = misspelt(environment(os.environ, folder))
    doubts = warnings(settings) + names + open_to_others(folder, settings.data_dir)
    pictured = settings.token is not None and any(c.pictures != "none" for c in settings.chats)
    if pictured and (text := library_missing()):
        doubts.append(text)
    apprise = [m.key for m in settings.messengers if m.service is Service.APPRISE]
    if apprise:
        from bot.delivery.sinks.apprise import command_missing  # the others need not wait for it

        doubts += [text for key in apprise if (text := command_missing(key))]
    return doubts


def _show(settings: Settings, asset: str) -> None:
    from bot.config.explain import show

    try:
        print(show(settings, asset))  # noqa: T201
    except ValueError as error:
        _fail(str(error), 2)


def _preview(options: argparse.Namespace, settings: Settings) -> None:
    from bot.preview import preview

    language = _language(options, settings)
    try:
        service = Service(options.to) if options.to else None
        text = preview(settings, options.rule, language, html=options.html, service=service)
        print(text)  # noqa: T201
    except ValueError as error:
        _fail(str(error), 2)


def _language(options: argparse.Namespace, settings: Settings) -> str:
    """That of ``--lang``, else that of the configuration."""
    language: str = options.lang or settings.language
    if language not in LANGUAGES:
        _fail(unknown_language(language, language), 2)
    return language


def _test(settings: Settings) -> int:
    from bot.config import ruletests

    outcomes = ruletests.run_all(load_tests(settings), settings)
    print(ruletests.report(outcomes))  # noqa: T201
    return 0 if all(outcome.passed for outcome in outcomes) else 1


async def _send_test(settings: Settings) -> int:
    from bot.delivery import send_test  # python-telegram-bot takes a while to import

    outcomes = await send_test.send_test_to_all(settings)
    for outcome in outcomes:
        print(outcome.text, file=sys.stdout if outcome.posted else sys.stderr)
    return 0 if all(outcome.posted for outcome in outcomes) else 1


def _demo(options: argparse.Namespace, settings: Settings) -> None:
    if options.backtest:
        _demo_backtest(settings)
        return
    from bot.demo.play import play
    from bot.web.server import serve_web

    settings = msgspec.structs.replace(settings, language=_language(options, settings))
    speed: float = options.speed or _DEMO_SPEED
    print(  # noqa: T201
        f"Lowtide demo: the crash of 10 October 2025, {speed:g} times faster than life.\n"
        "Made, not recorded: a generator wrote the frames after the public figures of that day;\n"
        "a local server plays them over real sockets to the pipeline that runs live.\n"
        "Times are UTC."
        + (" The first messages come in about fifteen seconds." if speed == _DEMO_SPEED else ""),
        flush=True,
    )

    def watch(demo: Settings, url: str) -> Coroutine[None, None, None]:
        return serve_web(
            demo, url, ("127.0.0.1", 0), now=None,
            on_listening=lambda address: print(f"Watch it: {address}\n", flush=True),  # noqa: T201
        )  # fmt: skip

    asyncio.run(play(settings, speed, aside=watch))
    live = "lowtide run" if is_packaged() else "make run"
    print(f"The story is over. `{live}` listens to the real venues.")  # noqa: T201


def _demo_backtest(settings: Settings) -> None:
    from bot.backtest.command import Options, backtest
    from bot.demo.archive import write_archive

    print(  # noqa: T201
        "Lowtide demo: what this configuration would have posted in ten days with a crash.\n"
        "Made, not recorded: a generator wrote them in the form of Binance's public archive.\n"
        "History as it was: lowtide history get, then lowtide backtest data/history.\n",
        flush=True,
    )
    with TemporaryDirectory() as name:

        def answer() -> str:
            write_archive(Path(name))
            return backtest(settings, Options(paths=[Path(name)]), {})

        _answer("backtest", answer)


def _service(options: argparse.Namespace, settings: Settings) -> int:
    from bot.service import ServiceError, install, service_plan, unit, unit_folder

    as_root = os.geteuid() == 0 and not options.user
    try:
        plan = service_plan(settings, as_root=as_root)
        if options.action == "show":
            print(unit(plan), end="")  # noqa: T201
            return 0
        folder = unit_folder(os.environ, as_root=as_root)
        print(install(plan, folder, replace=options.replace))  # noqa: T201
    except ServiceError as error:
        _fail(str(error), 2)
    return 0


async def _kept(options: argparse.Namespace, settings: Settings) -> int:
    """Back up or restore."""
    from bot.backup import BackupError, read_backup, restore, state_of, write_backup
    from bot.roles.run import redis_url

    path: Path = options.file
    configuration = [p for p in (settings.path, tests_file(settings.path)) if p.exists()]
    try:
        state = None if options.command == "backup" else read_backup(path)
        async with redis_url(settings) as url:
            redis = connection.connect(url, options.command)
            try:
                if state is None:
                    state = await state_of(redis)
                    write_backup(path, state, configuration)
                else:
                    await restore(redis, state, replace=options.replace)
            finally:
                await redis.aclose()
    except (RedisError, OSError, TimeoutError) as error:
        _fail(connection.in_words(error), 1)
    except (BackupError, CannotStart) as error:
        _fail(str(error), 1)
    done = f"{path} has" if options.command == "backup" else "Redis has now"
    taken = datetime.fromtimestamp(state.at / 1000, UTC)
    print(f"{done} what Lowtide {state.version} knew on {taken:%-d %B %Y, %H:%M:%S} UTC.")  # noqa: T201
    return 0


async def _status(settings: Settings, as_json: bool) -> int:
    from bot import status
    from bot.roles.run import existing_redis
    from bot.web.readiness import readiness

    url = existing_redis(settings)
    redis = connection.connect(url, "status")
    try:
        answer = await status.collect_once(redis)
    except (RedisError, OSError, TimeoutError) as error:
        _fail(f"{connection.in_words(error)}: is Lowtide running?", 1)
    finally:
        await redis.aclose()
    checks = readiness(answer, {}, telegram=settings.token is not None)
    wrong = [f"not well: {check.reason}" for check in checks if not check.ok]
    with contextlib.suppress(BrokenPipeError):
        text = orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode()
        print(text if as_json else "\n".join([status.describe(answer), *wrong]))  # noqa: T201
    return 1 if wrong else 0


async def _verify(options: argparse.Namespace, settings: Settings) -> int:
    from bot.verify import verify

    return await verify(settings, options.venues, options.seconds)


async def _record(options: argparse.Namespace, settings: Settings) -> int:
    from bot.record import record

    return await record(settings, options.venue, options.symbols, options.output)


async def _replay(files: Sequence[Path], settings: Settings) -> int:
    from bot.delivery.sinks.console import Console
    from bot.messages.notices import notice_message
    from bot.messages.thread import delivery_message
    from bot.plan.planner import Delivery
    from bot.replay import Replay, judged, messages

    console, words, posts = Console(), LANGUAGES[settings.language], 0
    replay = Replay(settings)
    try:
        # as on the console, where nothing can be edited
        chat = msgspec.structs.replace(chats(settings)[0], destination=ConsoleOutput())
        still_open: list[Delivery] = []
        for message in messages(judged(replay.events(files), settings), chat, still_open):
            if isinstance(message, Delivery):
                posts += 1
                await console.send(ConsoleOutput(), delivery_message(message, words))
            else:
                await console.send(ConsoleOutput(), notice_message(message, words))
    except OSError as error:
        _fail(f"cannot replay: {error.filename}: {error.strerror}", 1)
    except ValueError as error:
        _fail(f"cannot replay: {error}", 1)
    for event in still_open:
        headline = delivery_message(event, words).plain.split("\n")[0]
        print(f"still open at the end: {headline}", file=sys.stderr)  # noqa: T201
    count = replay.count
    minutes = (count.last - count.first) / MINUTE
    print(  # noqa: T201
        f"{count.frames:,} frames over {minutes:,.0f} min, {count.dropped:,} dropped,"
        f" {count.events:,} events, {posts} messages",
        file=sys.stderr,
    )
    return 0


def _judge_history(options: argparse.Namespace, settings: Settings) -> None:
    """``backtest`` or ``score``: both judge the same values, given by the same options."""
    from bot.backtest import command  # the roles do without numpy
    from bot.backtest.rows import VenueChoice

    asked = command.Options(
        paths=options.paths,
        against=options.against,
        assets=options.assets,
        venues=VenueChoice(options.venues, options.without),
        as_json=options.json,
        html=getattr(options, "html", None),
        levels=getattr(options, "levels", False),
        **{key: at for key in ("start", "end") if (at := getattr(options, key)) is not None},
    )
    env = environment(os.environ, home(settings.path))
    answer = command.score if options.command == "score" else command.backtest
    _answer(options.command, lambda: answer(settings, asked, env))


def _report(options: argparse.Namespace, settings: Settings) -> None:
    from bot.backtest import statements, week
    from bot.backtest.conditions import MONTH_WEEKS
    from bot.backtest.week_alerts import week_alerts
    from bot.backtest.week_report import week_report
    from bot.plan.weekly import WEEK, last_week
    from bot.roles.run import existing_redis
    from streams.clock import wall_ms

    language = _language(options, settings)

    def make() -> str:
        latest = last_week(wall_ms())
        start = week.monday(options.week) if options.week else latest
        if start > latest:
            raise ValueError(f"the week of {options.week} is not over: name an earlier Monday")
        folder = settings.data_dir / "metrics"
        majors = settings.majors
        of_week = of_before = statements.needed(majors)
        if not options.statements:
            of_week, of_before = week.wanted(majors), week.prices_wanted(majors)
        weeks = [week.read_week(folder, start, of_week)]
        weeks += [
            week.read_week(folder, start - n * WEEK, of_before) for n in range(1, MONTH_WEEKS)
        ]
        if not weeks[0].minutes:
            raise ValueError(f"nothing of that week was recorded in {folder}")
        if options.statements:
            return statements.statements(weeks, majors, LANGUAGES[language], settings.supports)
        recorded = weeks[0]
        week.streaks(recorded, folder, week.FUNDING, majors)
        try:
            recorded.alerts = asyncio.run(week_alerts(existing_redis(settings), start))
        except (RedisError, OSError, TimeoutError) as error:
            reason = redact(connection.in_words(error))
            print(f"what was reported is not known: {reason}", file=sys.stderr)  # noqa: T201
        return week_report(weeks, majors, LANGUAGES[language], settings.supports)

    _answer("report", make)


def _tune(options: argparse.Namespace, settings: Settings) -> None:
    from bot.backtest.command import tune

    wanted: float = options.posts_per_week
    _answer(
        "tune",
        lambda: tune(settings, options.rule, wanted, options.paths, options.write, options.row),
    )


async def _get_history(options: argparse.Namespace, settings: Settings) -> int:
    from bot.backtest.command import progress
    from bot.history.files import ArchiveData
    from bot.history.get import HistoryWanted, fetch_history, folder_of, now_ms, outcome

    wanted = HistoryWanted(
        assets=options.assets,
        start=options.start,
        end=options.end,
        data=tuple(ArchiveData(name) for name in options.data),
    )
    os.umask(0o077)
    try:
        got = await fetch_history(settings, wanted, now_ms(), progress())
    except ValueError as error:
        _fail(f"cannot get history: {error}", 1)
    print(outcome(got, folder_of(settings)), file=sys.stdout if got.done else sys.stderr)
    return 0 if got.done else 1


def _answer(what: str, make: Callable[[], str]) -> None:
    """Print what ``make`` gives, or one sentence on why it cannot."""
    try:
        answer = make()
    except ConfigError:
        raise
    except OSError as error:
        _fail(f"cannot read or write {error.filename}: {error.strerror}", 1)
    except ValueError as error:
        _fail(f"cannot {what}: {error}", 1)
    print(answer)  # noqa: T201


def _fail(text: str, code: int) -> NoReturn:
    print(redact(text), file=sys.stderr)  # noqa: T201
    sys.exit(code)
