"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from bot import redaction
from streams.bus.health import HEALTH, Health

ROOT = Path(__file__).resolve().parent.parent

# how long an example takes says more of the machine than of the code
hypothesis.settings.register_profile("lowtide", deadline=None)
hypothesis.settings.load_profile("lowtide")


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Whatever a test does to the logs, and whatever fails in it, the next one finds as it was."""
    yield
    vars(HEALTH).update(vars(Health()))
    structlog.reset_defaults()
    redaction._known.clear()
    redaction._compiled.clear()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded frames and history, read in place: LOWTIDE_SHARED or ../shared."""
    folder = Path(os.environ.get("LOWTIDE_SHARED") or ROOT.parent / "shared")
    if not (folder / "frames").is_dir():
        pytest.skip(f"no recorded frames in {folder}; LOWTIDE_SHARED can name the folder")
    return folder
