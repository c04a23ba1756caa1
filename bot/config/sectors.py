"""``[sectors]``, the baskets of coins, as rules need them. Pure."""

from collections.abc import Collection, Mapping

from bot.config.markets import Problem, asset_problem
from bot.config.schema import SectorTable
from bot.meant import did_you_mean
from rules.metrics import metric
from rules.metrics.sector import MARKET, NAME, SectorMetric
from rules.metrics.usual import base_of
from rules.sectors import LEAST_COINS, Basket


def sector_problems(sectors: Mapping[str, SectorTable]) -> list[Problem]:
    """What is wrong with the baskets."""
    problems: list[Problem] = []
    for name, table in sectors.items():
        at = ("sectors", name)
        if not NAME.fullmatch(name):
            text = "a sector's name is made of a-z and 0-9, 16 at most, and begins with a letter"
            problems.append((at, text))
        if len(set(table.coins)) < LEAST_COINS:
            text = f"needs at least {LEAST_COINS} coins: what fewer do is no move of a sector"
            problems.append(((*at, "coins"), text))
        for place, coin in enumerate(table.coins):
            if text := asset_problem(coin):
                problems.append(((*at, "coins"), text))
            elif coin in table.coins[:place]:
                problems.append(((*at, "coins"), f"{coin} is listed twice"))
    return problems


def baskets_of(
    metric_name: str, sectors: Mapping[str, SectorTable]
) -> tuple[Mapping[str, Basket], list[str]]:
    """The baskets that a metric compares, and what is wrong; none if it compares none."""
    of = base_of(metric(metric_name))
    if not isinstance(of, SectorMetric):
        return {}, []
    problems = [_unknown(name, sectors) for name in (of.sector, MARKET) if name not in sectors]
    if problems:
        return {}, problems
    return {name: _basket(sectors[name]) for name in (of.sector, MARKET)}, []


def _basket(table: SectorTable) -> Basket:
    return Basket(tuple(table.coins), table.weight)


def _unknown(name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, [*known]) or f": state its coins in [sectors.{name}]"
    return f'there is no sector "{name}"{hint}'
