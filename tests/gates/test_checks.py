"""Spelling and coverage, as pyproject.toml has them, can fail."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

BIN = Path(sys.executable).parent
BRANCHES = "def sign(x):\n    if x > 0:\n        return 1\n    return -1\n\n\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "build" / "coverage").mkdir(parents=True)
    (tmp_path / "rules").mkdir()
    return tmp_path


@pytest.mark.parametrize(("word", "code"), [("recei" + "ve", 0), ("recie" + "ve", 65)])
def test_a_mistake_in_spelling_is_seen(word: str, code: int, project: Path) -> None:
    (project / "README.md").write_text(f"to {word}\n")
    done = subprocess.run([BIN / "codespell"], cwd=project, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.parametrize(("calls", "code"), [("", 2), ("sign(1)\nsign(-1)\n", 0)])
def test_coverage_below_the_floor_fails(calls: str, code: int, project: Path) -> None:
    (project / "rules" / "sample.py").write_text(BRANCHES + calls)
    quiet = {"cwd": project, "capture_output": True, "text": True}
    subprocess.run([BIN / "coverage", "run", "rules/sample.py"], **quiet, check=True)
    subprocess.run([BIN / "coverage", "combine"], **quiet, check=True)
    done = subprocess.run([BIN / "coverage", "report"], **quiet, check=False)
    assert done.returncode == code, done.stdout + done.stderr


def test_the_floor_is_in_one_place() -> None:
    report = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["report"]
    assert 0 < report["fail_under"] <= 100
    assert "fail-under" not in (ROOT / "Makefile").read_text()
