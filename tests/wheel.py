"""The wheel of the tree as it is, uncommitted changes too."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

BUILD = "from setuptools import build_meta; build_meta.build_wheel(r'{}')"


def built_wheel(folder: Path) -> Path:
    """Built as anybody builds it, from a copy of the source in ``folder``."""
    tree, wheels = folder / "tree", folder / "wheels"
    tree.mkdir()
    for name in ("bot", "streams", "rules"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=skipped)
    for name in (
        "pyproject.toml", "README.md", "LICENSE", "config.toml", "config.tests.toml",
        "sectors.toml",
    ):  # fmt: skip
        shutil.copy(ROOT / name, tree)
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(wheels)],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("*.whl")
    return wheel
