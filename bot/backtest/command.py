"""``lowtide backtest``: files and configurations → a report."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size

import msgspec

from bot.backtest import html, report
from bot.backtest import score as scoring
from bot.backtest import tune as tuning
from bot.backtest.changes import changes_against
from bot.backtest.evaluate import Run, run
from bot.backtest.history import NO_DATA
from bot.backtest.html import Scene, scene
from bot.backtest.report import Report, text
from bot.backtest.rows import EVERY_VENUE, LATEST, VenueChoice
from bot.backtest.score import Prices
from bot.backtest.sources import Sources
from bot.backtest.tune import in_words as proposals_in_words
from bot.backtest.tune import write as write_levels
from bot.config import Settings, load
from bot.config.source import own_file
from bot.meant import did_you_mean
from rules.metrics import asked_by
from rules.rule import Rule
from streams.events import Ms

_BAR = 30
_WIDE = 200
_SCENES = 8
_NAMES = 8


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    paths: Sequence[Path]
    """Files, or folders of them."""
    against: Path | None = None
    """Another configuration to compare with."""
    start: Ms = 0
    end: Ms = LATEST
    """Not included."""
    assets: frozenset[str] = frozenset()
    """These alone; empty: all."""
    venues: VenueChoice = EVERY_VENUE
    as_json: bool = False
    html: Path | None = None
    """Where a page is written, too."""
    levels: bool = False
    """Whether a score tries the rules of one line at other levels too."""


def backtest(settings: Settings, options: Options, env: Mapping[str, str]) -> str:
    """The answer for the terminal. Raises OSError or ValueError (ConfigError too) in a sentence."""
    configurations = [settings]
    if options.against is not None:
        configurations.append(load(options.against, env))
    metrics = _metrics(configurations)
    sources = Sources(
        options.paths, settings, metrics, options.start, options.end, options.assets,
        options.venues,
    )  # fmt: skip
    answer, scenes, runs = reported(sources, configurations, options.assets, progress())
    if missing := options.assets - {asset for entry in answer.coverage for asset in entry.assets}:
        raise ValueError(_no_values(sorted(missing), sources))
    if options.html is not None:
        options.html.write_text(html.page(answer, scenes, runs), encoding="utf-8")
    if options.as_json:
        return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()
    written = f"\n\nThe page is {options.html}" if options.html else ""
    return text(answer, _width()) + written


def _width() -> int:
    """Of the terminal; what goes into a file is not made narrow."""
    return get_terminal_size().columns if sys.stdout.isatty() else _WIDE


def _metrics(configurations: Iterable[Settings]) -> list[str]:
    """All that their rules ask for, in ``when`` too."""
    rules = (rule for settings in configurations for rule in settings.rules)
    return sorted({metric for rule in rules for metric in asked_by(rule)})


def score(settings: Settings, options: Options, env: Mapping[str, str]) -> str:
    """What the rings were worth, for the terminal. Raises OSError or ValueError in a sentence."""
    configurations = [settings]
    if options.against is not None:
        configurations.append(load(options.against, env))
    compared = scoring.judgements(configurations, options.levels)
    metrics = _metrics([judgement.settings for judgement in compared])
    sources = Sources(
        options.paths, settings, metrics, options.start, options.end, options.assets,
        options.venues,
    )  # fmt: skip
    prices, runs = Prices(), [(judgement, Run(judgement.settings)) for judgement in compared]
    spans: list[tuple[Ms, Ms]] = []
    for chunk in sources.pieces(progress()):
        spans.append((chunk.start, chunk.end))
        prices.take(chunk)
        for _, judged in runs:
            judged.take(chunk)
    for _, judged in runs:
        judged.end()
    if not prices.assets():
        raise ValueError("these files have no prices, so no ring can be held against a fall")
    answer = scoring.compare(prices, runs, settings.tiers, spans[0][0], spans[-1][1])
    if options.as_json:
        return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()
    return scoring.text(answer)


def tune(
    settings: Settings,
    name: str,
    posts_a_week: float,
    paths: Sequence[Path],
    write: bool,
    row: str | None = None,
) -> str:
    """The proposal for the terminal. Raises OSError or ValueError in a sentence."""
    rule = _rule(settings, name)
    sources = Sources(paths, settings, asked_by(rule))
    proposals = tuning.tune(sources, settings, rule, posts_a_week, progress(), row)
    text = proposals_in_words(rule, proposals, posts_a_week)
    if not any(proposal.sound for proposal in proposals):
        return f"{text}\n\nNothing is proposed, and nothing was written."
    if not write:
        name = own_file(settings.path).name
        return f"{text}\n\nNothing was written: add --write to put this into {name}."
    written = write_levels(settings, rule, proposals) or ["nothing had to be changed"]
    return "\n".join([text, "", *written])


def _no_values(missing: Sequence[str], sources: Sources) -> str:
    """Why nothing could be said of assets that were asked for."""
    files_of, asked = sources.names(), ", ".join(missing)
    if not {*files_of} & {*missing}:
        shown = ", ".join(files_of[:_NAMES]) + (" and others" if len(files_of) > _NAMES else "")
        return f"these files have no values of {asked}: they are of {shown}"
    reasons = dict.fromkeys(why for why in sources.why.values() if why != NO_DATA)
    return f"no metric can be made of what these files say of {asked}: {'; '.join(reasons)}"


def _rule(settings: Settings, name: str) -> Rule:
    rules = {rule.name: rule for rule in settings.rules}
    windows = [window for window in rules if window.startswith(f"{name}:")]
    if windows:
        raise ValueError(f"{name} has several windows: name one, such as {windows[0]}")
    if name in {composite.name for composite in settings.composites}:
        raise ValueError(f"{name} is a composite and has no levels of its own: tune its rules")
    if name not in rules:
        raise ValueError(f"there is no rule {name}{did_you_mean(name, list(rules))}")
    return rules[name]


def reported(
    sources: Sources,
    configurations: Sequence[Settings],
    assets: frozenset[str] = frozenset(),
    tell: Callable[[float], None] | None = None,
) -> tuple[Report, list[Scene], list[Run]]:
    """Judges everything and says what came of it."""
    seen, runs = run(sources, configurations, tell)
    spoke = sources.spoke()
    scenes = [scene(sources, loud) for loud in report.loudest(runs[0])]
    names = report.names([chosen.path for chosen in configurations])
    answer = Report(
        start=min(seen.first.values(), default=0),
        end=max(seen.last.values(), default=0),
        days=len(set[int]().union(*seen.days.values())),
        coverage=report.coverage(seen, spoke),
        not_judged=report.not_judged(seen, runs, sources.why, assets),
        notes=tuple(sources.notes.sentences),
        posted=tuple(
            report.posted(judged, seen, name) for judged, name in zip(runs, names, strict=True)
        ),
        loudest=tuple(shown.loud for shown in scenes),
        changes=changes_against(*runs) if len(runs) == 2 else None,
    )
    return answer, scenes[:_SCENES], runs


def progress() -> Callable[[float], None] | None:
    """A bar on stderr, if somebody sits there."""
    if not sys.stderr.isatty():
        return None
    began = time.monotonic()

    def tell(share: float) -> None:
        full = round(share * _BAR)
        left = (time.monotonic() - began) * (1 - share) / max(share, 1e-9)
        bar = f"\r{'█' * full}{'·' * (_BAR - full)} {share:4.0%}, {left:3.0f} s left "
        sys.stderr.write(bar if share < 1 else "\r" + " " * len(bar) + "\r")
        sys.stderr.flush()

    return tell
