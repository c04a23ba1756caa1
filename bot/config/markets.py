"""``[markets]``: which assets are in which tier, and whose row holds for an asset. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from unicodedata import normalize

import msgspec

from bot.config.schema import ALL, TIERS, MarketsTable, keys_at
from bot.config.values import shown
from bot.meant import did_you_mean
from streams.coins import present_name
from streams.venues.wire import coin_of

Problem = tuple[tuple[str | int, ...], str]
"""The path of a key, and a sentence that says what is wrong with its value."""

_KILO = re.compile(r"k([A-Z0-9]+)")
"""A contract on 1,000 coins, as in kPEPE."""

_QUOTED = re.compile(
    r"([A-Z0-9]+?)(?:[-_/]?(?:USDT|USDC|FDUSD|BUSD)|[-_/]USD|(?<=...)USD|[-_]?PERP)"
    r"(?:[-_]?(?:PERP|SWAP))?"
)
"""A contract by what it is counted in. PYUSD, TUSD and PERP are coins."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Tiers(msgspec.Struct, frozen=True, kw_only=True):
    """Which asset is in which tier. Every asset is in majors, large or the tail."""

    majors: tuple[str, ...]
    large: tuple[str, ...]
    own: Mapping[str, tuple[str, ...]]
    """The operator's own tiers, name → assets; their rows go before those of the other tiers."""
    tail: int
    """How many assets are watched besides the listed ones."""

    @property
    def listed(self) -> tuple[str, ...]:
        """All assets that are named in a tier, each once."""
        own = [asset for assets in self.own.values() for asset in assets]
        return tuple(dict.fromkeys([*self.majors, *self.large, *own]))

    def tier(self, asset: str) -> str:
        """majors, large or tail."""
        return "majors" if asset in self.majors else "large" if asset in self.large else "tail"

    def names(self, asset: str) -> tuple[str, ...]:
        """The rows that ``asset`` may have, the nearest first: its own, of its tiers."""
        own = [name for name, assets in self.own.items() if asset in assets]
        return (asset, *own, self.tier(asset))

    def layers(self, rows: Collection[str], asset: str) -> tuple[str, ...]:
        """Which of ``rows`` make the levels of ``asset``: the row of one tier, then its own."""
        tiers = (n for n in self.names(asset)[1:] if n in rows and (n != "tail" or self.tail))
        tier = next(tiers, None)
        return (*([tier] if tier else []), *([asset] if asset in rows else []))

    def watches(self, asset: str) -> bool:
        """Whether ``asset`` is listed or may be of the tail."""
        return bool(self.tail) or asset in self.listed


def tiers(markets: MarketsTable) -> Tiers:
    """The tiers of a file."""
    return Tiers(
        majors=tuple(markets.majors),
        large=tuple(markets.large),
        own={name: tuple(assets) for name, assets in markets.own.items()},
        tail=markets.tail,
    )


def looks_like_asset(key: str, names: Collection[str] = ()) -> bool:
    """Upper case and no signs, and no letters of another width, which no venue has: a coin, not a
    misspelt key and not a tier in capitals."""
    return (
        key == normalize("NFKC", key.upper())
        and key.isalnum()
        and key.lower() not in {*TIERS, ALL, *names}
    )


MOST_LEVELS = 20
"""Of a coin, that ``[markets.supports]`` may name: each is followed through a month of prices."""


def market_problems(
    markets: MarketsTable, venues: Sequence[str], used: Collection[str]
) -> list[Problem]:
    """What is wrong with ``[markets]``, given the venues that exist and the rows of rules."""
    problems: list[Problem] = []
    if not markets.venues:
        problems.append((("markets", "venues"), "is empty: name at least one venue"))
    for name in markets.venues:
        if name not in venues:
            hint = did_you_mean(name, list(venues)) or f": choose from {', '.join(venues)}"
            problems.append((("markets", "venues"), f'unknown venue "{name}"{hint}'))
    if not any((markets.majors, markets.large, markets.tail, *markets.own.values())):
        problems.append((("markets",), "is empty: give majors, large or tail"))
    base = {"majors": markets.majors, "large": markets.large}
    problems += _assets({"spot": markets.spot or []})
    for asset, levels in markets.supports.items():
        at = ("markets", "supports", asset)
        if text := asset_problem(asset):
            problems.append((at, text))
        elif len(levels) > MOST_LEVELS:
            problems.append((at, f"names {len(levels)} levels: {MOST_LEVELS} at most"))
    return problems + _assets(base) + _assets(markets.own) + _names(markets.own, used)


def named_supports(markets: MarketsTable) -> dict[str, tuple[float, ...]]:
    """Asset → the levels of ``[markets.supports]``."""
    return {asset: tuple(levels) for asset, levels in markets.supports.items()}


class ContractName(NamedTuple):
    """What a venue's name of a contract says."""

    coin: str
    multiplier: float
    """How many coins one unit is."""
    quoted: bool
    """It ends in what the contract is counted in."""


def contract_named(name: str) -> ContractName | None:
    """What ``name`` says, if it is how venues call contracts; None: it may be a coin's."""
    if kilo := _KILO.fullmatch(name):
        return ContractName(present_name(kilo[1]), 1_000, quoted=False)
    quoted = _QUOTED.fullmatch(name)
    contract = ContractName(*coin_of(quoted[1] if quoted else name), quoted is not None)
    return contract if contract.quoted or contract.multiplier != 1 else None


def coin_meant(name: str) -> str:
    """The coin that ``name`` probably is of, however it is written (``btc``, ``1000PEPEUSDT``,
    ``MATIC``): ``name`` itself if nothing is known against it."""
    text = name if _KILO.fullmatch(name) else name.upper()
    contract = contract_named(text)
    return contract.coin if contract else present_name(text)


def contract_problem(asset: str) -> str:
    """A sentence if ``asset`` is a venue's name of a contract; "" if it is none."""
    contract = contract_named(asset)
    if contract is None:
        return ""
    like = f"a contract on {contract.multiplier:,.0f} coins"
    if contract.quoted:
        like = "a venue's name of a contract"
    return f"{asset} looks like {like}: write the asset, {contract.coin}"


def asset_problem(asset: str) -> str:
    """A sentence on why ``asset`` names no coin; "" if it may be one."""
    if looks_like_asset(asset):
        return ""
    return contract_problem(asset) or f'{shown(asset)} is not an asset: write it like "BTC"'


def _assets(tiers: Mapping[str, list[str]]) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[str] = set()
    for tier, assets in tiers.items():
        for asset in assets:
            if text := asset_problem(asset):
                problems.append((("markets", tier), text))
            elif asset in seen:
                problems.append((("markets", tier), f"{asset} is listed twice"))
            seen.add(asset)
    return problems


def _names(own: Collection[str], used: Collection[str]) -> list[Problem]:
    taken = {*keys_at(("rules", "any")), *keys_at(("rules", "any", "any"))}
    problems: list[Problem] = []
    for name in own:
        if name in taken:
            problems.append((("markets", name), "is a key of rules: give the tier another name"))
        elif not _NAME.fullmatch(name):
            problems.append((("markets", name), "a tier's name is made of a-z, 0-9 and _"))
        elif name not in used:
            near = did_you_mean(name, ["venues", *TIERS])
            problems.append((("markets", name), f"no rule has a row for this tier{near}"))
    return problems
