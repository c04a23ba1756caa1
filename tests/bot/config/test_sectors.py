"""Baskets of coins in a configuration: those that are shipped, one's own, what is wrong."""

from pathlib import Path

from pytest import mark, raises

from bot.config import ConfigError, Settings, load
from bot.config.source import SECTORS, SHIPPED
from rules.sectors import Basket

EXTENDS = 'extends = "shipped"\n'
RULE = """
[rules.own]
metric = "sector_own_24h_pct"
fires = "below"
all = { watch = -5, clear = -2 }
"""
OWN = '[sectors.own]\ncoins = ["BTC", "ETH", "SOL"]\n'


def read(folder: Path, text: str) -> Settings:
    path = folder / "local.toml"
    path.write_text(text)
    return load(path, {})


def baskets(settings: Settings, name: str):
    (rule,) = [rule for rule in settings.rules if rule.name == name]
    return rule.baskets


def test_the_shipped_baskets_are_those_of_the_shipped_rules():
    settings = load(SHIPPED, {})
    layer2 = baskets(settings, "sector_rout:layer2")
    assert set(layer2) == {"layer2", "market"}
    assert layer2["market"] == baskets(settings, "sector_week:ai")["market"]
    watched = {rule.name for rule in settings.rules if rule.baskets}
    names = set(settings.source.keys("sectors")) - {"market"}
    assert watched == {f"{of}:{name}" for of in ("sector_rout", "sector_week") for name in names}
    assert not any(rule.baskets for rule in settings.rules if rule.name not in watched)


def test_a_basket_of_ones_own_extends_them_and_one_of_the_same_name_takes_its_place(tmp_path: Path):
    text = OWN + '[sectors.layer2]\ncoins = ["ARB", "OP", "ZK"]\nweight = "cap"\n' + RULE
    settings = read(tmp_path, EXTENDS + text)
    assert baskets(settings, "own")["own"] == Basket(("BTC", "ETH", "SOL"))
    assert baskets(settings, "sector_rout:layer2")["layer2"] == Basket(("ARB", "OP", "ZK"), "cap")
    shipped = baskets(load(SHIPPED, {}), "sector_rout:ai")["ai"]
    assert baskets(settings, "sector_rout:ai")["ai"] == shipped


def test_a_whole_file_has_the_shipped_baskets_too(tmp_path: Path):
    settings = read(tmp_path, SHIPPED.read_text())
    assert baskets(settings, "sector_rout:ai") == baskets(load(SHIPPED, {}), "sector_rout:ai")
    assert settings.source.place("sectors", "ai") == f"{SECTORS.name}:{line_of('[sectors.ai]')}"


def line_of(text: str) -> int:
    lines = SECTORS.read_text().splitlines()
    return 1 + next(n for n, line in enumerate(lines) if line.startswith(text))


@mark.parametrize(
    ("text", "problem"),
    [
        ('[sectors.own]\ncoins = ["BTC", "ETH"]\n', "local.toml:3: sectors.own.coins: needs at"
         " least 3 coins: what fewer do is no move of a sector"),
        ('[sectors.own]\ncoins = ["BTC", "ETH", "SOL", "ETH"]\n',
         "local.toml:3: sectors.own.coins: ETH is listed twice"),
        ('[sectors.own]\ncoins = ["BTC", "ETH", "sol"]\n',
         'local.toml:3: sectors.own.coins: "sol" is not an asset: write it like "BTC"'),
        ('[sectors.My_Own]\ncoins = ["BTC", "ETH", "SOL"]\n', "local.toml:2: sectors.My_Own: a"
         " sector's name is made of a-z and 0-9, 16 at most, and begins with a letter"),
        (OWN + 'weight = "size"\n',
         'local.toml:4: sectors.own.weight: must be "equal" or "cap", not "size"'),
        (OWN + 'coin = ["BTC"]\n',
         'local.toml:4: sectors.own.coin: unknown key (did you mean "coins"?)'),
        ("[sectors.own]\n", "local.toml:2: sectors.own.coins: is missing"),
        (RULE, 'local.toml:3: rules.own: there is no sector "own": state its coins in'
         " [sectors.own]"),
        (OWN + RULE.replace("_own_", "_layr2_"), "local.toml:5: rules.own: there is no sector"
         ' "layr2" (did you mean "layer2"?)'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, problem: str):
    with raises(ConfigError) as error:
        read(tmp_path, EXTENDS + text)
    assert [line.rpartition("/")[2] for line in error.value.problems] == [problem]
