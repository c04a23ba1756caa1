"""The unit for systemd: what systemd itself says of it, and what is never done silently."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bot import service
from bot.config import load
from bot.service import (
    NAME,
    ServiceError,
    ServicePlan,
    install,
    service_plan,
    unit,
    unit_folder,
)
from tests.bot.test_main import PLAIN, ended


def plan(folder: Path, user: str | None = None) -> ServicePlan:
    config = folder / "local.toml"
    config.write_text(PLAIN)
    return ServicePlan(
        python=Path(sys.executable), config=config, data_dir=folder / "data", user=user
    )


def keys(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
@pytest.mark.parametrize("whose", ["machine", "user"])
def test_systemd_finds_nothing_wrong_with_it(whose: str, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    with pytest.raises(ServiceError, match="cannot stand in a unit"):
        unit(ServicePlan(python=folder, config=folder, data_dir=folder, user=None))
    folder = tmp_path / "50%-h"
    folder.mkdir()
    me = pwd.getpwuid(os.getuid()).pw_name
    install(plan(folder, me if whose == "machine" else None), tmp_path / "units")
    path = tmp_path / "units" / NAME
    command = ["systemd-analyze", "verify", *(["--user"] if whose == "user" else []), str(path)]
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    about = [line for line in done.stderr.splitlines() if "lowtide" in line]
    assert (done.returncode, about) == (0, [])
    path.write_text(path.read_text().replace("WatchdogSec=60", "WatchdogSec=soon"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert "Failed to parse sec value" in done.stderr  # what it would say of a mistake


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_calls_it_fenced_in(tmp_path: Path) -> None:
    text = unit(plan(tmp_path, "nobody"))
    path = tmp_path / NAME
    path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    overall = next(line for line in done.stdout.splitlines() if "Overall exposure" in line)
    exposure = float(overall.partition(": ")[2].split()[0])
    assert 0 < exposure < 2.5, overall


def test_what_the_roles_rely_on_is_in_it(tmp_path: Path) -> None:
    machine, user = unit(plan(tmp_path, "nobody")), unit(plan(tmp_path))
    for text in (machine, user):
        settings = keys(text)
        assert settings["Type"] == "notify" and float(settings["WatchdogSec"]) >= 60
        # or the Redis of its own would end before the roles have saved
        assert settings["KillMode"] == "mixed"
        assert settings["RestartPreventExitStatus"] == "2"
        assert settings["ExecStart"] == (
            f'"{sys.executable}" -P -m bot run --config "{tmp_path / "local.toml"}"'
        )
    assert keys(machine)["User"] == "nobody" and "User" not in keys(user)
    assert keys(machine)["ReadWritePaths"] == f'"{tmp_path / "data"}"'
    assert "ProtectSystem" not in keys(user)  # it takes privileges that a user's manager has not


def test_what_it_starts_is_this_lowtide_wherever_it_runs(tmp_path: Path) -> None:
    """The command of the unit, in its folder: a package of that name there is not taken."""
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot" / "__init__.py").write_text("raise SystemExit('another')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bot", "--version"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("lowtide ")


def test_a_unit_that_differs_is_left_alone(tmp_path: Path) -> None:
    units = tmp_path / "units"
    wanted = plan(tmp_path)
    assert "systemctl --user enable --now lowtide" in install(wanted, units)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    install(wanted, units)  # the same once more
    (units / NAME).write_text("mine")
    with pytest.raises(ServiceError, match="is there already and differs: --replace"):
        install(wanted, units)
    assert (units / NAME).read_text() == "mine"
    install(wanted, units, replace=True)
    assert (units / NAME).read_text() == unit(wanted)


def test_where_it_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "units").write_text("a file")
    with pytest.raises(ServiceError, match=r"cannot write .*units.*: File exists"):
        install(plan(tmp_path), tmp_path / "units")


def test_it_never_runs_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "local.toml"
    path.write_text(PLAIN)
    settings = load(path, {})
    owner = pwd.getpwuid(path.stat().st_uid).pw_name
    if owner == "root":
        with pytest.raises(ServiceError, match="belongs to root, and Lowtide is not to run as"):
            service_plan(settings, as_root=True)
        os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
        owner = "nobody"
    monkeypatch.setattr(service, "_shut", lambda _path, _user: None)  # where tests are installed
    assert service_plan(settings, as_root=True).user == owner
    assert service_plan(settings, as_root=False).user is None
    monkeypatch.chdir(tmp_path)
    relative = load(Path("local.toml"), {})
    assert service_plan(relative, as_root=False).config == path


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize(("mode", "shut"), [(0o700, True), (0o710, True), (0o701, False)])
def test_where_its_user_may_not_enter_is_said_before_it_starts(
    mode: int, shut: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as an environment in the home of root, by pipx."""
    place = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="lowtide-test-"))
    try:
        place.chmod(0o755)
        (place / "shut").mkdir()
        python = place / "shut" / "python"
        python.touch()
        (place / "shut").chmod(mode)
        (place / "local.toml").write_text(PLAIN)
        os.chown(place / "local.toml", pwd.getpwnam("nobody").pw_uid, -1)
        monkeypatch.setattr(sys, "executable", str(python))
        settings = load(place / "local.toml", {})
        if not shut:
            assert service_plan(settings, as_root=True).user == "nobody"
            return
        with pytest.raises(ServiceError, match=f"may not enter {place / 'shut'}, where {python}"):
            service_plan(settings, as_root=True)
    finally:
        shutil.rmtree(place)


def test_the_command_writes_where_a_users_units_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "local.toml"
    path.write_text(PLAIN)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    code, out, err = ended(["service", "install", "--user", "--config", str(path)], capsys)
    assert (code, err) == (0, "")
    written = unit_folder(os.environ, as_root=False) / NAME
    assert out.startswith(f"Written: {written}\n")
    assert written == tmp_path / "home" / "systemd" / "user" / NAME and written.is_file()
    code, out, err = ended(["service", "show", "--user", "--config", str(path)], capsys)
    assert (code, out) == (0, written.read_text())
