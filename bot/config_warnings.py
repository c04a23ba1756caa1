"""What is allowed in a configuration and yet probably not meant. Pure."""

from collections.abc import Iterator

from bot.config import Settings
from bot.config_composites import families
from bot.config_markets import looks_like_asset
from bot.config_values import did_you_mean
from rules.composite import Composite
from rules.metrics import metric
from rules.rule import Rule
from streams.events import Kind
from streams.venues import VENUES

_TAIL = "(tail)"


def warnings(settings: Settings) -> list[str]:
    """A sentence for each, with file, line and key."""
    found = [*_rules(settings), *_assets(settings), *_operators(settings)]
    able = [rule for rule in settings.rules if not _why_never(rule, settings)]
    found += [
        (("rules", composite.name), f"can never fire: {why}")
        for composite in settings.composites
        if (why := _never(composite, able))
    ]
    source = settings.source
    return [
        f"{source.place(*path) or settings.path.name}: {'.'.join(path)}: {text}"
        for path, text in found
    ]


def _rules(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    for rule in settings.rules:
        _, _, window = rule.name.partition(":")
        path = ("rules", rule.family, *(("windows", window) if window else ()))
        if why := _why_never(rule, settings):
            yield path, f"can never fire: {why}"


def _why_never(rule: Rule, settings: Settings) -> str | None:
    """Why a rule can never fire, None if it can."""
    if not rule.rows and rule.others is None:
        return "it has rows for empty tiers only, so it watches no asset"
    kinds = metric(rule.metric).kinds
    given = {kind for venue in settings.venues for kind in VENUES[venue.name].SPEC.kinds}
    if kinds & given:
        return None
    titles = [VENUES[venue.name].SPEC.title for venue in settings.venues]
    names = " or ".join(_PLURALS.get(kind, str(kind)) for kind in sorted(kinds))
    if len(titles) == 1:
        return f"{titles[0]} publishes no {names}"
    return f"none of {', '.join(titles)} publishes {names}"


def _operators(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    operators = settings.operators
    if not operators.users and (operators.everyone or operators.chat_id is not None):
        yield ("operators", "users"), "is empty, so nobody may change anything by command"


_PLURALS = {
    Kind.FUNDING: "funding",
    Kind.OPEN_INTEREST: "open interest",
    Kind.LIQUIDATION: "liquidations",
    Kind.DEPTH: "order books",
    Kind.PRICE: "prices",
}


def _assets(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Rows of assets that no tier lists and that look like one that is listed."""
    source, listed = settings.source, settings.tiers.listed
    for family in source.keys("rules"):
        windows = source.keys("rules", family, "windows")
        for inner in [(), *(("windows", window) for window in windows)]:
            for name in source.keys("rules", family, *inner):
                near = did_you_mean(name, list(listed))
                if near and name not in listed and looks_like_asset(name, settings.own_tiers):
                    text = f"{name} is in no tier, so it is watched only as one of the tail{near}"
                    yield ("rules", family, *inner, name), text


def _never(composite: Composite, able: list[Rule]) -> str | None:
    """Why a composite can never fire, given the rules that can."""
    by_family = families(able)
    assets = {asset for rule in able for asset in rule.rows} | {_TAIL}
    possible = 0
    for family, level in composite.all_of:
        reached = [_reaches(rule, asset) for rule in by_family.get(family, []) for asset in assets]
        if max(reached, default=0) >= level:
            possible += 1
        elif not composite.at_least:
            return f"{family} never reaches {level.name.lower()}"
    needed = composite.enough
    if possible < needed:
        return f"only {possible} of its conditions can hold, {needed} are needed"
    for asset in assets:
        hold = [
            max((_reaches(rule, asset) for rule in by_family.get(family, [])), default=0) >= level
            for family, level in composite.all_of
        ]
        if sum(hold) >= needed:
            return None
    return "no asset is watched by enough of its rules"


def _reaches(rule: Rule, asset: str) -> int:
    """The highest level that a rule knows for an asset; 0: it does not watch it."""
    row = rule.others if asset == _TAIL else rule.row_of(asset)
    return max(row.levels, default=0) if row else 0
