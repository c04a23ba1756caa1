"""Lowtide as a package: built as anybody builds it, it works from an empty folder."""

import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bot import __version__
from tests.conftest import ROOT
from tests.wheel import built_wheel

LINKS = {
    "bot/shipped/config.toml": "config.toml",
    "bot/shipped/config.tests.toml": "config.tests.toml",
    "bot/shipped/sectors.toml": "sectors.toml",
    "bot/demo/crash.jsonl.gz": "bot/demo/crash.jsonl.gz",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the wheel is unpacked, far from the checkout."""
    folder = tmp_path_factory.mktemp("package")
    wheel = built_wheel(folder)
    assert wheel.name == f"lowtide-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def program(package: Path) -> str:
    """The command line of the package, where nothing leads to the checkout."""
    return (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in str(f)];"
        f"sys.path.insert(0, {str(package)!r}); from bot.__main__ import main; main()"
    )


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder)}


def lowtide(
    package: Path, folder: Path, *arguments: str, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command in ``folder``."""
    return subprocess.run(
        [sys.executable, "-c", program(package), *arguments],
        cwd=folder, env=environment(folder), input=typed, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_the_package_has_what_is_shipped_byte_for_byte(package: Path):
    for inside, outside in LINKS.items():
        file = package / inside
        assert file.is_file() and not file.is_symlink()
        assert file.read_bytes() == (ROOT / outside).read_bytes()
    assert not (package / "tests").exists() and not (package / "config.toml").exists()


def test_it_works_from_an_empty_folder(package: Path, tmp_path: Path):
    done = lowtide(package, tmp_path, "--version")
    assert (done.stdout, done.returncode) == (f"lowtide {__version__} (commit unknown)\n", 0)
    done = lowtide(package, tmp_path, "check")
    assert (done.stderr, done.returncode) == ("", 0)
    assert "redis      started by Lowtide, data in data\n" in done.stdout
    assert "warning" not in done.stdout
    done = lowtide(package, tmp_path, "test")
    assert done.returncode == 0 and done.stdout.endswith("none failed\n")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_ones_own_is_found_there(package: Path, tmp_path: Path):
    (tmp_path / "local.toml").write_text('extends = "shipped"\n[markets]\nmajors = ["BTC"]\n')
    (tmp_path / ".env").write_text("REDIS_URL=redis://example.org/3 # ours\n")
    (tmp_path / ".env").chmod(0o600)
    done = lowtide(package, tmp_path, "check")
    assert (done.stderr, done.returncode) == ("", 0)
    assert "majors     BTC\n" in done.stdout and "redis      redis://example.org/3\n" in done.stdout


def test_init_makes_it_the_operators_own(package: Path, tmp_path: Path):
    done = lowtide(package, tmp_path, "init", typed="\nBTC SOL\n")
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.endswith("Start it: lowtide run\n")
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["config.toml", "lowtide.schema.json"]
    assert "large      SOL\n" in lowtide(package, tmp_path, "check").stdout


def test_it_runs_there_and_keeps_its_data_there(package: Path, tmp_path: Path):
    """A dry run, until its own Redis answers; nobody listens where the venue should be."""
    (tmp_path / "local.toml").write_text(
        'extends = "shipped"\n[markets]\nvenues = ["binance"]\n'
        '[venues.binance]\nwebsocket = "ws://127.0.0.1:1"\nrest = "http://127.0.0.1:1"\n'
    )
    with subprocess.Popen(
        [sys.executable, "-c", program(package), "run", "--dry-run"],
        cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stderr is not None
        try:
            lines = [next(running.stderr)]
            while "Valkey started" not in lines[-1]:
                lines.append(next(running.stderr))
        finally:
            running.send_signal(signal.SIGTERM)
            running.stderr.read()
        assert running.wait(30) == 0
    assert 'what="local.toml, ' in lines[0]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "local.toml"]
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_the_demo_plays_in_an_empty_folder(package: Path, tmp_path: Path):
    """Until its first message; nothing of it is left there."""
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program(package), "demo", "--speed", "20000"],
        cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        lines: list[str] = []
        try:
            while not lines or not re.search("[🟡🟠🔴]", lines[-1]):
                lines.append(next(demo.stdout))
        finally:
            demo.send_signal(signal.SIGTERM)
            rest = demo.stdout.read()
    assert lines[0].startswith("Lowtide demo")
    assert "Traceback" not in "".join(lines) + rest
    assert list(tmp_path.iterdir()) == []


def test_the_demo_of_a_backtest_plays_in_an_empty_folder(package: Path, tmp_path: Path):
    done = lowtide(package, tmp_path, "demo", "--backtest")
    assert (done.stderr, done.returncode) == ("", 0)
    assert "LOUDEST EPISODES" in done.stdout
    assert list(tmp_path.iterdir()) == []
