"""What all tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded frames and history, read in place: LOWTIDE_SHARED or ../shared."""
    folder = Path(os.environ.get("LOWTIDE_SHARED") or ROOT.parent / "shared")
    if not (folder / "frames").is_dir():
        pytest.skip(f"no recorded frames in {folder}; LOWTIDE_SHARED can name the folder")
    return folder
