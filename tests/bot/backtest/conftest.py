"""What the tests of backtests share."""

from pathlib import Path

import pytest

from bot.backtest.evaluate import Run, Seen, run
from bot.backtest.sources import Sources
from bot.config import load
from rules.metrics import asked_by
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def judged(shared: Path) -> tuple[Seen, Run]:
    """The shipped configuration over the recorded history."""
    folder = shared / "history"
    if not folder.is_dir():
        pytest.skip(f"no recorded history in {shared}")
    settings = load(ROOT / "config.toml", {})
    asked = sorted({metric for rule in settings.rules for metric in asked_by(rule)})
    sources = Sources([folder], settings, asked)
    seen, runs = run(sources, [settings])
    return seen, runs[0]


@pytest.fixture(scope="session")
def earned(judged: tuple[Seen, Run]) -> Run:
    """What it said."""
    return judged[1]
