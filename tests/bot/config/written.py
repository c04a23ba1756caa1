"""What tests of the configuration write into a file of their own, and how they read it."""

from pathlib import Path

from bot.config import Settings, load

HEAD = """
[markets]
venues = ["binance", "hyperliquid"]
majors = ["BTC", "ETH"]
large = ["SOL"]
tail = "next 60 by OI"
"""
OI = """
[rules.oi_drop]
metric = "oi_net_1h_pct"
fires = "below"
"""


def read(folder: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    """The settings of a ``config.toml`` with this text."""
    path = folder / "config.toml"
    path.write_text(text)
    return load(path, env or {})
