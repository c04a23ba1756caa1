"""What is allowed in a configuration and yet probably not meant. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from bot.config import Settings
from bot.config.explain import rule_path
from bot.config.markets import contract_problem, looks_like_asset
from bot.config.rules import families
from bot.config.values import LEVELS
from bot.destination import place_key
from bot.meant import did_you_mean
from rules.composite import Composite
from rules.metric import Metric
from rules.metrics import cause_asked_by, metric, of_spot
from rules.metrics.dispersion import FundingDispersion
from rules.metrics.drawdown import GroupDrawdown, InterestDrawdown
from rules.metrics.funding import FundingMetric
from rules.metrics.market_cap import MarketCapMetric
from rules.metrics.market_wide import PriceDownShare, TotalOpenInterest
from rules.metrics.stablecoin import StablecoinMetric
from rules.rule import Rule
from streams.coins import NEW_NAMES
from streams.durations import DAY
from streams.events import Kind, exchange_of
from streams.sources import SOURCES
from streams.venue import Spec
from streams.venues import VENUES

_TAIL = "(tail)"
_FOR_A_REPORT = 8 * DAY


def warnings(settings: Settings) -> list[str]:
    """A sentence for each, with file, line and key."""
    doubts = [
        *_names(settings),
        *_rules(settings),
        *_assets(settings),
        *_levels(settings),
        *_conditions(settings),
        *_amounts(settings),
        *_factors(settings),
        *_destinations(settings),
        *_operators(settings),
        *_weekly_reports(settings),
        *_buttons(settings),
        *_supplies(settings),
    ]
    able = [rule for rule in settings.rules if not _why_never(rule, settings)]
    doubts += [
        (("rules", composite.name), f"can never fire: {why}")
        for composite in settings.composites
        if (why := _never(composite, able))
    ]
    source = settings.source
    return [
        f"{source.place(*path) or settings.path.name}: {'.'.join(path)}: {text}"
        for path, text in dict.fromkeys(doubts)
    ]


def _rules(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    spot = any(VENUES[venue.name].SPEC.spot for venue in settings.venues)
    for rule in settings.rules:
        own = settings.source.parts[0].has(rule_path(rule))
        if not _watches(rule) and not own:
            continue  # a shipped rule for tiers that the operator has left empty
        if not own and of_spot(rule.metric) and not spot:
            continue  # a shipped rule for the kind of markets that the operator has left out
        if why := _why_never(rule, settings):
            yield rule_path(rule), f"can never fire: {why}"
        elif why := _never_agrees(rule, settings):
            yield rule_path(rule), f"only what is critical can ring, since when cannot agree: {why}"


def _supplies(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Rules that are made of a list of coins, which no source has."""
    if any(SOURCES[name].SPEC.lists_coins for name in settings.sources):
        return
    deaf = [
        rule.name
        for rule in settings.rules
        for names in [(rule.metric, *(when.metric for when in rule.when))]
        if any(isinstance(metric(name), MarketCapMetric) for name in names)
    ]
    if deaf:
        able = [name for name, of in SOURCES.items() if of.SPEC.lists_coins]
        yield (
            ("context", "sources"),
            f"no source lists coins, so {', '.join(deaf)} can never fire: add "
            f"{' or '.join(able)}, or leave these rules out",
        )


def _watches(rule: Rule) -> bool:
    """Whether there may be an asset that the rule looks at."""
    return bool(rule.rows) or rule.others is not None


def _why_never(rule: Rule, settings: Settings) -> str | None:
    """Why a rule can never fire, None if it can."""
    if not _watches(rule):
        return "it has rows for empty tiers only, so it watches no asset"
    if isinstance(metric(rule.metric), PriceDownShare) and not rule.least_fall_pct:
        return "least_fall_pct names no coin that is listed"
    of = cause_asked_by(rule) if rule.cause else None
    parts = [rule.metric, *([of.moves.name, of.interest.name] if of else [])]
    reasons = (_unpublished(part, settings) for part in parts)
    return next((why for why in reasons if why), None)


def _never_agrees(rule: Rule, settings: Settings) -> str | None:
    """Why a condition on another metric can never hold, None if each can."""
    reasons = (_unpublished(condition.metric, settings) for condition in rule.when)
    return next((why for why in reasons if why), None)


def _unpublished(name: str, settings: Settings) -> str | None:
    """What a metric is made of and no venue of the configuration has, None if it can be known."""
    specs = [VENUES[venue.name].SPEC for venue in settings.venues]
    of = metric(name)
    lack = _lack_of_spot(of.kinds, specs) if of_spot(name) else _lack(of, specs)
    return f"{name} {lack}" if lack else None


def _lack(of: Metric, specs: Sequence[Spec]) -> str | None:
    """What a metric of perpetuals lacks."""
    able = [spec for spec in specs if of.kinds & spec.kinds and not spec.spot]
    if not able:
        kinds = " or ".join(_PLURALS.get(kind, str(kind)) for kind in sorted(of.kinds))
        return f"is made of {kinds}: {_nobody(specs, 'publishes', 'any')}"
    if isinstance(of, FundingMetric) and of.settled:
        if not any(spec.tells_settlements for spec in able):
            return f"is made of settled funding: {_nobody(able, 'publishes', 'any')}"
    elif isinstance(of, FundingDispersion):
        if len({exchange_of(spec.name) for spec in able}) < 2:
            return f"takes two exchanges with funding: there is one, {_titles(able)}"
    elif isinstance(of, StablecoinMetric):
        if len({exchange_of(spec.name) for spec in able}) < 2:
            return f"takes exchanges that agree: there is one, {_titles(able)}"
    elif isinstance(of, TotalOpenInterest | InterestDrawdown | GroupDrawdown) and not any(
        spec.open_interest.counted for spec in able
    ):
        known = "is made of open interest known to count one side or both"
        return f"{known}: {_nobody(able, 'publishes', 'any')}"
    return None


def _lack_of_spot(kinds: frozenset[Kind], specs: Sequence[Spec]) -> str | None:
    """What a metric of spot markets lacks."""
    spot = {exchange_of(spec.name) for spec in specs if spec.spot and kinds & spec.kinds}
    if not spot:
        return f"is made of spot markets: {_nobody(specs, 'has', 'any')}"
    perpetuals = {exchange_of(spec.name) for spec in specs if not spec.spot}
    if Kind.VOLUME in kinds and not spot & perpetuals:  # it is a share of what both have
        return f"takes an exchange with spot markets and perpetuals: {_nobody(specs, 'is', 'one')}"
    return None


def _nobody(specs: Sequence[Spec], verb: str, what: str) -> str:
    if len(specs) == 1:
        return f"{_titles(specs)} {verb} none"
    return f"none of {_titles(specs)} {verb} {what}"


def _titles(specs: Sequence[Spec]) -> str:
    return ", ".join(spec.title for spec in specs)


def _buttons(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    operators = settings.operators
    for chat in settings.chats:
        ours = place_key(chat.id) == place_key(operators.chat_id)
        ours = ours or chat.id in operators.users
        if chat.buttons and not operators.everyone and not ours and chat.id is not None:
            table = "channel" if chat.place.startswith("channel") else "chats"
            yield (
                (table, "buttons"),
                (
                    f"only operators may ask, so for readers of {chat.id} the buttons do nothing; "
                    'operators.commands = "everyone" changes that'
                ),
            )


def _weekly_reports(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    wanted = [*settings.chats, *settings.messengers]
    if any(chat.weekly_report for chat in wanted) and settings.metrics_keep < _FOR_A_REPORT:
        text = "a weekly report is made of the metric log, which must be kept for 8 days at least"
        yield ("metrics", "keep"), text


def _operators(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    operators = settings.operators
    if not operators.users and (operators.everyone or operators.chat_id is not None):
        yield ("operators", "users"), "is empty, so nobody may change anything by command"
    if operators.status_at is None:
        return
    if operators.chat_id is None:
        text = "there is no operators.chat_id, so nobody gets the status"
        yield ("operators", "status_at"), text
    elif settings.token is None:
        text = "there is no TELEGRAM_BOT_TOKEN, so nobody gets the status"
        yield ("operators", "status_at"), text


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


_EXCHANGED = {
    # Paradex's notice: MKR-USD-PERP ends on 2025-09-09 for the swap; the rate is that of Sky's own
    # converter
    "MKR": ("SKY", "since September 2025, 24,000 for one"),
    # OKX's notice of the swap on 2024-07-01: 1 AGIX = 0.43335 FET
    "AGIX": ("FET", "since July 2024, 0.43335 for one"),
}
"""Coins that were exchanged for another number of others, each with the notice that says so."""


def _names(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Names of assets that no venue lists as such. What a venue lists is known only from itself."""
    source = settings.source
    named = [
        (("markets", tier), asset)
        for tier, assets in source.values("markets").items()
        if tier != "venues" and isinstance(assets, list)
        for asset in cast("list[str]", assets)
    ]
    for section in ("chats", "webhooks", "messengers"):
        wanted = [receiver.wanted for receiver in getattr(settings, section)]
        named += [((section, "assets"), asset) for each in wanted for asset in each.assets]
    for path, asset in dict.fromkeys(named):
        if meant := _meant(asset):
            yield path, meant


def _meant(asset: str) -> str | None:
    """What is wrong with the name of an asset, None if nothing is known against it."""
    if problem := contract_problem(asset):
        return problem
    new = NEW_NAMES.get(asset)
    if new is not None:
        when = f"since {new.since:%B %Y}" if new.since else "on the venues that are listened to"
        return f"{asset} is called {new.coin} {when}: write {new.coin}"
    if asset in _EXCHANGED:
        name, when = _EXCHANGED[asset]
        return f"{asset} is called {name} {when}: write {name}"
    return None


class _Range(NamedTuple):
    """Sizes that levels of a metric have."""

    metric: str
    """A pattern of the names of metrics."""
    least: float
    """Below this, and not 0, a level is probably a fraction where % is meant."""
    most: float
    """No value was ever further out."""


_RANGES = (
    _Range(r"funding_(predicted_)?8h_pct", 0.001, 16),  # a cap of 2 % an hour
    _Range(r"price_down_share_\w+_pct", 2, 100),
    _Range(r"(oi_net|oi_total_net|price)_\w+_pct", 0.2, 100),
    _Range(r"depth_\w+_pct_of_\w+", 2, 1_000),
    _Range(r"funding_negative_share_pct", 2, 100),
    _Range(r"volatility_\w+_pct", 2, 5_000),
    _Range(r"drawdown_\w+_pct", 0.2, 100),
    _Range(r"liq_\w+_musd", 0.01, 20_000),  # $19 billion on 10 October 2025 was the most in a day
)
_CHANGE = re.compile(r"(oi_net|oi_total_net|price(?!_down_share)|drawdown)_\w+_pct")


def _levels(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Levels in another unit than the metric's, or with the wrong sign."""
    for rule in settings.rules:
        table = rule_path(rule)
        limits = _range(rule.metric)
        for row, values in settings.source.values(*table).items():
            for key in LEVELS if isinstance(values, dict) and row != "windows" else ():
                value = cast("dict[str, object]", values).get(key)
                if not limits or not isinstance(value, int | float):
                    continue
                if doubt := _doubt(rule, limits, key, value):
                    yield (*table, row, key), doubt


def _conditions(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Conditions on other metrics (``when``) in another unit than theirs."""
    for rule in settings.rules:
        tables = dict.fromkeys((rule_path(rule), ("rules", rule.family)))
        table = next((t for t in tables if "when" in settings.source.values(*t)), None)
        for asked in rule.when if table else ():
            limits = _range(asked.metric)
            stated = f"{asked.metric} {asked.comparison} {asked.threshold:.15g}"
            if limits and (doubt := _unit_doubt(asked.metric, limits, stated, asked.threshold)):
                yield (*(table or ()), "when"), doubt


def _range(name: str) -> _Range | None:
    return next((sizes for sizes in _RANGES if re.fullmatch(sizes.metric, name)), None)


def _unit_doubt(metric: str, limits: _Range, stated: str, value: float) -> str | None:
    """Why ``value`` is probably meant in another unit; ``stated``: how it is written."""
    size, percent = abs(value), "_pct" in metric
    if size > limits.most:
        if not percent:
            return f"{stated} is in million USD: for ${value:,.0f} write {value / 1e6:g}"
        return f"{stated} is further out than any value: {metric} is in %"
    if 0 < size < limits.least:
        if not percent:
            return f"{stated} is in million USD, so ${value * 1e6:,.0f}"
        return f"{stated} is {value:g} %: for {100 * value:g} % write {100 * value:g}"
    return None


def _doubt(rule: Rule, limits: _Range, key: str, value: float) -> str | None:
    if doubt := _unit_doubt(rule.metric, limits, f"{key} = {value:.15g}", value):
        return doubt
    if not _CHANGE.fullmatch(rule.metric):
        if value < 0 and not rule.metric.startswith("funding_"):
            return f"{key} = {value:.15g} is below anything that {rule.metric} can be"
        return None
    if rule.fires == "below" and value >= 0:
        return (
            f"{key} = {value:.15g} is reached where nothing changes: a fall has a minus, {-value:g}"
        )
    if rule.fires == "above" and value <= 0:
        return f"{key} = {value:.15g} is reached where nothing changes: a rise has no minus"
    return None


_MOST_FLOOR_MUSD = 100_000
"""More than all contracts of one asset were ever worth: a larger number is meant in USD."""


def _amounts(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Floors in USD where million USD are counted."""
    for rule in settings.rules:
        for table in dict.fromkeys((rule_path(rule), ("rules", rule.family))):
            for key in ("min_oi_musd", "min_loss_musd"):
                floor = settings.source.values(*table).get(key)
                sizes = cast("dict[str, object]", floor) if isinstance(floor, dict) else {"": floor}
                for size in sizes.values():
                    if isinstance(size, int | float) and size >= _MOST_FLOOR_MUSD:
                        text = (
                            f"{size:.15g} is in million USD: for ${size:,.0f} write {size / 1e6:g}"
                        )
                        yield (*table, key), text


_MOST_FACTOR = 10


def _factors(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """repost_if in percent, where a factor is meant."""
    for rule in settings.rules:
        tables = (*dict.fromkeys((rule_path(rule), ("rules", rule.family))), ("defaults",))
        for table in tables:
            factor = settings.source.values(*table).get("repost_if")
            if isinstance(factor, int | float) and factor > _MOST_FACTOR:
                text = f"{factor:g} is a factor: 1.5 is half as bad again"
                yield (*table, "repost_if"), text


_LEAST_CHANNEL = 1_000_000_000
"""The ids of channels have ten digits behind their -100."""


def _destinations(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Chats that are probably not meant, or get nothing because there is no token."""
    for chat in settings.chats:
        if isinstance(chat.id, int) and chat.id >= _LEAST_CHANNEL:
            section = chat.place.partition(".")[0]
            text = (
                f"{chat.id} is the id of a person; that of a channel or a large group begins with"
                f" -100: write -100{chat.id} if one is meant"
            )
            yield (section, "chat_id" if section == "channel" else "id"), text
    if settings.token is not None:
        return
    for chat in settings.chats:
        if chat.id is not None:
            section = chat.place.partition(".")[0]
            key = "chat_id" if section == "channel" else "id"
            text = f"there is no TELEGRAM_BOT_TOKEN, so what is for {chat.id} is printed here"
            yield (section, key), text
    if settings.operators.chat_id is not None:
        text = "there is no TELEGRAM_BOT_TOKEN, so notices are only logged"
        yield ("operators", "chat_id"), text


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
