"""The command line: which commands there are and what each takes.

Only this module is imported for ``--help`` and ``--version``, so it imports nothing of ours.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import NoReturn, cast

_DATA = ("metrics", "bookDepth", "fundingRate", "klines", "markPriceKlines")
"""Folders of the archive, see ``bot/history/files.py``."""

_Add = Callable[[str, str], argparse.ArgumentParser]
"""Makes the command of that name; the text says what it does."""

_ABOUT = "Real-time alerts for crypto derivatives: tells when leverage leaves the market."


EXAMPLES = {
    "run": "run --dry-run",
    "streams": "streams --config local.toml",
    "rules": "rules --config local.toml",
    "bot": "bot --config local.toml",
    "init": "init",
    "check": "check --config local.toml",
    "show": "show BTC",
    "preview": "preview liq_burst --lang ja",
    "test": "test",
    "config": "config set rules.liq_burst.majors.alert 50",
    "config set": "config set rules.liq_burst.majors.alert 50",
    "config schema": "config schema > lowtide.schema.json",
    "completion": "completion bash > ~/.local/share/bash-completion/completions/lowtide",
    "send-test": "send-test",
    "demo": "demo --speed 500",
    "status": "status --json",
    "verify": "verify --venue binance bybit --seconds 120",
    "repair": "repair",
    "backup": "backup lowtide.backup.tar.gz",
    "restore": "restore lowtide.backup.tar.gz",
    "service": "service install --user",
    "record": "record binance BTCUSDT ETHUSDT -o frames.jsonl.gz",
    "replay": "replay frames.jsonl.gz",
    "backtest": "backtest data/metrics --from 2026-10-01 --html page.html",
    "score": "score data/metrics --levels",
    "report": "report --week 2026-11-16 --lang zh-TW",
    "history": "history get --assets BTC,ETH --from 2026-08-01",
    "tune": "tune oi_drop:1h --posts-per-week 2 data/metrics",
}
"""A line of each command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 failed, 2 something to mend first."""
    whole = parser()
    options, unknown = whole.parse_known_args(arguments)
    if unknown:
        whole.refuse(options, unknown)
    if options.command == "completion":
        sys.stdout.write(f"{_completion(whole, options.shell)}\n")
        sys.exit(0)
    from bot.cli import do  # what the commands need takes half a second to import

    do(options)


class _Parser(argparse.ArgumentParser):
    """As argparse's own, but what is mistyped is answered with what was probably meant."""

    def _check_value(self, action: argparse.Action, value: str) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        if action.dest == "command":
            where = "lowtide --help lists all commands"
            self.error(f'there is no command "{value}"{_meant(value, choices)}: {where}')
        text = f'must be {_listed(choices)}, not "{value}"{_meant(value, choices)}'
        raise argparse.ArgumentError(action, text)

    def refuse(self, options: argparse.Namespace, unknown: Sequence[str]) -> NoReturn:
        """Exit with a sentence on the first word that the command of ``options`` does not know."""
        word, parser = unknown[0], self._of(options)
        takes = [option for action in parser._actions for option in action.option_strings]
        meant = _meant(word.partition("=")[0], takes) if word.startswith("-") else ""
        parser.error(f'it takes no "{word}"{meant}')

    def _of(self, options: argparse.Namespace) -> argparse.ArgumentParser:
        """That of the command, or of the one below it."""
        by_name = {parser.prog: parser for parser in _commands(self)}
        command = by_name[f"{self.prog} {options.command}"]
        return by_name.get(f"{command.prog} {getattr(options, 'action', '')}", command)


def _meant(word: str, candidates: list[str]) -> str:
    from bot.meant import did_you_mean

    return did_you_mean(word, candidates)


def _listed(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


class _Version(argparse.Action):
    """As argparse's own, but git is asked for the commit only where the version is wanted."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from bot.version import description

        sys.stdout.write(f"{description()}\n")
        parser.exit()


def _completion(whole: argparse.ArgumentParser, shell: str) -> str:
    import shtab

    from bot.config.edit import settable_keys

    for command in (whole, *_commands(whole)):
        for action in command._actions:
            if action.dest == "key":
                action.choices = settable_keys()  # of which a shell knows, and not the parser
            elif action.type is Path:
                action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
    return shtab.complete(whole, shell)


def _commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The commands below it, and those below them."""
    inner: list[argparse.ArgumentParser] = []
    for action in parser._actions:
        if isinstance(action.choices, dict):  # of any other argument it is a list
            for command in cast("dict[str, argparse.ArgumentParser]", action.choices).values():
                inner += [command, *_commands(command)]
    return inner


def parser() -> _Parser:
    """The commands and what each takes."""
    whole = _Parser(prog="lowtide", description=_ABOUT)
    whole.add_argument(
        "--version", action=_Version, nargs=0, help="say the version and the commit, and exit"
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config", type=Path, metavar="PATH", default=argparse.SUPPRESS,
        help="the configuration to use; without it $LOWTIDE_CONFIG, or local.toml or config.toml of"
        " this folder, or the one that comes with Lowtide",
    )  # fmt: skip
    whole.set_defaults(config=None)  # not by each parser: an inner one would take it away again
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return _with_example(commands.add_parser, name, text, [common])

    _running(add)
    _configuring(add, common)
    _operating(add)
    _looking_back(add)
    return whole


def _with_example(
    add_parser: Callable[..., argparse.ArgumentParser],
    name: str,
    text: str,
    parents: Sequence[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """Adds the command ``name``; of one below another, the last word of it."""
    return add_parser(
        name.rpartition(" ")[2], help=text, description=text, parents=parents,
        epilog=f"example:\n  lowtide {EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def _running(add: _Add) -> None:
    run = add("run", "everything in one process, with a Redis of its own if there is none")
    add("streams", "only the role that listens to venues")
    add("rules", "only the role that judges events")
    run.add_argument(
        "--dry-run", action="store_true",
        help="messages to the terminal only; with a Redis of its own, so beside a real one too",
    )  # fmt: skip
    add("bot", "only the role that sends messages")


def _configuring(add: _Add, common: argparse.ArgumentParser) -> None:
    init = add("init", "three questions, then a configuration, a token and a test message")
    init.add_argument("--api-url", metavar="URL", help="a Bot API server in place of Telegram's")
    add("check", "read the configuration and say what it means")
    shown = add("show", "the numbers that hold for one asset, and where each comes from")
    shown.add_argument("asset", metavar="ASSET", help="such as BTC; ALL for the whole market")
    sample = add("preview", "what the messages of a rule look like, with made numbers")
    sample.add_argument("rule", metavar="RULE", nargs="?", help="such as oi_drop; without it, all")
    sample.add_argument("--lang", metavar="LANGUAGE", help="of the messages: en, ja or zh-TW")
    sample.add_argument("--html", action="store_true", help="as Telegram gets them")
    services = ("discord", "slack", "ntfy", "line", "apprise")
    sample.add_argument("--to", metavar="SERVICE", choices=services,
                        help="what discord, slack, ntfy, line or apprise gets")  # fmt: skip
    add("test", "run the rule tests of the configuration")
    config = add("config", "change one key of your own file, or what an editor needs to help")
    actions = config.add_subparsers(dest="action", required=True, metavar="ACTION")
    put = _with_example(
        actions.add_parser, "config set", "write one key; comments and layout stay", [common]
    )
    put.add_argument("key", metavar="KEY", help="such as rules.oi_drop.majors.alert")
    put.add_argument("value", metavar="VALUE", help="as in the file; text needs no quotes")
    _with_example(
        actions.add_parser, "config schema", "print the JSON schema of the file", [common]
    )
    completion = add("completion", "what makes a shell complete commands and options")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    add("send-test", "post a test message to every chat, or say what is missing")


def _operating(add: _Add) -> None:
    demo = add("demo", "play the bundled crash: no network, no token")
    demo.add_argument("--speed", type=_speed, help="times faster than life (200)")
    demo.add_argument("--lang", metavar="LANGUAGE", help="of the messages: en, ja or zh-TW")
    demo.add_argument(
        "--backtest", action="store_true", help="instead, what a backtest says of ten made days"
    )
    status = add("status", "how the running roles are doing")
    status.add_argument("--json", action="store_true", help="everything, as JSON")
    verify = add("verify", "does what venues send agree with what else they say? 1 if it does not")
    verify.add_argument(
        "--venue", dest="venues", nargs="+", default=(), metavar="VENUE",
        help="these venues; without it those that the configuration names",
    )  # fmt: skip
    verify.add_argument(
        "--seconds", type=_seconds, default=60, metavar="N", help="how long to listen (60)"
    )
    add("repair", "what became of a damaged file of the embedded Redis, and what to do")
    backup = add("backup", "what Lowtide knows, in one file; it may go on running")
    backup.add_argument("file", metavar="FILE", type=Path, help="such as lowtide.backup.tar.gz")
    restore = add("restore", "what a backup has, into Redis; Lowtide must not run")
    restore.add_argument("file", metavar="FILE", type=Path, help="what lowtide backup has written")
    restore.add_argument("--replace", action="store_true", help="in place of what is there")
    service = add("service", "a unit for systemd, which starts Lowtide and watches it")
    service.add_argument("action", choices=("install", "show"), help="write it, or only print it")
    service.add_argument(
        "--user", action="store_true", help="for your own services; root's is for the machine"
    )
    service.add_argument("--replace", action="store_true", help="write it over one that differs")


def _looking_back(add: _Add) -> None:
    record = add("record", "write raw frames of some symbols to a file")
    record.add_argument("venue", metavar="VENUE", help="as under markets.venues: binance")
    record.add_argument("symbols", metavar="SYMBOL", nargs="+", help="the venue's own names")
    record.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    replay = add("replay", "recorded frames to messages, as fast as it goes")
    replay.add_argument("files", metavar="FILE", nargs="+", type=Path)
    backtest = add("backtest", "what this configuration would have posted over recorded data")
    _history(backtest)
    backtest.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts too")
    score = add("score", "what the rings were worth, held against what the price did")
    _history(score)
    score.add_argument(
        "--levels", action="store_true", help="the rules of one line at other levels too"
    )
    week = add("report", "what a week was, from the metric log")
    week.add_argument("--week", metavar="MONDAY", help="such as 2026-11-16; else the last one")
    week.add_argument("--lang", metavar="LANGUAGE", help="of the report: en, ja or zh-TW")
    week.add_argument(
        "--statements",
        action="store_true",
        help="what weekly notes on the market say, line by line",
    )
    _archives(add("history", "history from public archives, into the data directory"))
    tune = add("tune", "levels of a rule for so many posts a week, from recorded data")
    tune.add_argument("rule", metavar="RULE", help="such as funding_negative or oi_drop:1h")
    tune.add_argument(
        "--posts-per-week",
        type=_rate,
        required=True,
        metavar="N",
        help="at alert and above, by row",
    )
    tune.add_argument("--row", metavar="ROW", help="this row alone, such as majors, tail or BTC")
    tune.add_argument("--write", action="store_true", help="put them into the configuration")
    _paths(tune)


def _archives(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("get",), help="get: what is not here yet")
    command.add_argument(
        "--assets", type=_assets, default=frozenset(), metavar="BTC,ETH",
        help="these; without it those that the configuration names",
    )  # fmt: skip
    command.add_argument(
        "--from", dest="start", type=_moment, metavar="DAY",
        help="such as 2026-08-01, UTC; without it 90 days back",
    )  # fmt: skip
    command.add_argument("--to", dest="end", type=_moment, metavar="DAY", help="not included")
    command.add_argument(
        "--data", nargs="+", choices=_DATA, default=_DATA[:4], metavar="NAME",
        help=f"some of {', '.join(_DATA)}; without it the first four",
    )  # fmt: skip


def _paths(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths", metavar="PATH", nargs="+", type=Path,
        help="metric logs (data/metrics), files of archives (data/history), recordings, CSV files,"
        " or folders of them",
    )  # fmt: skip


def _history(command: argparse.ArgumentParser) -> None:
    _paths(command)
    command.add_argument(
        "--against", type=Path, metavar="PATH", help="another configuration to compare with"
    )
    command.add_argument(
        "--from", dest="start", type=_moment, metavar="DAY", help="such as 2025-02-03, UTC"
    )
    command.add_argument("--to", dest="end", type=_moment, metavar="DAY", help="not included")
    command.add_argument(
        "--assets", type=_assets, default=frozenset(), metavar="BTC,ETH", help="these only"
    )
    command.add_argument(
        "--venue", dest="venues", type=_venues, default=frozenset(), metavar="BINANCE,BYBIT",
        help="what these venues say, and nothing else",
    )  # fmt: skip
    command.add_argument(
        "--without",
        type=_venues,
        default=frozenset(),
        metavar="VENUE",
        help="as if it said nothing",
    )
    command.add_argument("--json", action="store_true", help="everything, as JSON")


def _number(text: str, least: float, most: float, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = nan
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"must be {what}, not {text!r}")
    return number


def _rate(text: str) -> float:
    return _number(text, 1e-6, 10_000, "a number above 0")


def _seconds(text: str) -> int:
    return int(_number(text, 4, 3_600, "seconds, from 4 to 3600"))


def _assets(text: str) -> frozenset[str]:
    names = frozenset(name.strip().upper() for name in text.split(","))
    if "" in names:
        raise argparse.ArgumentTypeError("must be names with commas between them, such as BTC,ETH")
    return names


def _venues(text: str) -> frozenset[str]:
    return frozenset(name.lower() for name in _assets(text))


def _moment(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2025-02-03") from None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def _speed(text: str) -> float:
    return _number(text, 1e-6, 100_000, "a number above 0")


if __name__ == "__main__":
    main()
