"""The image and the compose file, as far as they can be judged without Docker."""

import fnmatch
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.config import load
from bot.config.source import SHIPPED
from tests.conftest import ROOT


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction of a Dockerfile with its arguments, lines put together."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            name, _, arguments = line.strip().partition(" ")
            yield name, " ".join(arguments.split())


IMAGE = list(instructions((ROOT / "Dockerfile").read_text()))
KNOWN = {
    "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT",
    "CMD",
}  # fmt: skip


def last_stage() -> dict[str, str]:
    begin = max(n for n, (name, _) in enumerate(IMAGE) if name == "FROM")
    return dict(IMAGE[begin:])


def sources() -> list[str]:
    """What is copied from the folder of the Dockerfile."""
    copies = [shlex.split(arguments) for name, arguments in IMAGE if name == "COPY"]
    return [path for words in copies if not words[0].startswith("--from") for path in words[:-1]]


def ignored(path: str, rules: list[str]) -> bool:
    """Whether .dockerignore keeps ``path`` out: the last rule that fits decides."""
    out = False
    for rule in rules:
        if fnmatch.fnmatch(path, rule.lstrip("!").removeprefix("**/")):
            out = not rule.startswith("!")
    return out


def dockerignore() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    assert len(sources()) > 5
    for path in sources():
        assert (ROOT / path).exists(), path
        assert not ignored(path, dockerignore()), path
    for path in (".env", "local.toml", "data", ".venv", ".git", "tests"):
        assert ignored(path, dockerignore()), path


def test_the_package_can_be_built_from_what_is_copied(tmp_path: Path) -> None:
    """Every file that pyproject.toml names and every link in the packages leads to is there."""
    copied = {ROOT / path for path in sources()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {ROOT / project["readme"], ROOT / "LICENSE", ROOT / "pyproject.toml"} <= copied
    links = [path for top in ("bot", "rules", "streams") for path in (ROOT / top).rglob("*")]
    for link in [path for path in links if path.is_symlink()]:
        target = link.resolve()
        assert any(target.is_relative_to(place) for place in copied), link


def test_it_is_small_and_never_root() -> None:
    assert {name for name, _ in IMAGE} <= KNOWN
    stages = [arguments.split()[0] for name, arguments in IMAGE if name == "FROM"]
    assert len(stages) == 2 and len(set(stages)) == 1
    version = re.fullmatch(r"python:(3\.\d+)-slim-bookworm", stages[0])
    assert version and version[1] in ("3.11", "3.12", "3.13", "3.14")
    user = last_stage()["USER"]
    assert user.isdecimal() and int(user) >= 1_000
    installs = [arguments for name, arguments in IMAGE if name == "RUN" and "pip" in arguments]
    assert any("--require-hashes" in run and "requirements.lock" in run for run in installs)
    assert not [run for run in installs if "requirements-dev" in run]
    copies = [arguments for name, arguments in IMAGE if name == "COPY"]
    assert copies[-1] == "--from=build /opt/lowtide /opt/lowtide"


def test_its_health_is_asked_where_it_is_served() -> None:
    *_, command = last_stage()["HEALTHCHECK"].partition("CMD ")
    program = json.loads(command)[-1]
    host, port = load(SHIPPED, {}).web or ("", 0)
    assert f"http://{host}:{port}/healthz" in program
    compile(program, "healthcheck", "exec")
    assert json.loads(last_stage()["ENTRYPOINT"]) == ["lowtide"]  # so that it hears SIGTERM
    assert json.loads(last_stage()["CMD"]) == ["run"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_compose_fences_both_in(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"lowtide", "valkey"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in service and "privileged" not in service
        assert set(service["networks"]) <= set(compose["networks"])
    assert compose["networks"]["inside"] == {"internal": True}
    assert services["valkey"]["networks"] == ["inside"]
    uid = last_stage()["USER"]
    assert services["lowtide"]["user"] == f"${{LOWTIDE_USER:-{uid}:{uid}}}"


def test_compose_gives_redis_what_lowtide_needs(compose: dict[str, Any], tmp_path: Path) -> None:
    services = compose["services"]
    command = services["valkey"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert services["lowtide"]["depends_on"]["valkey"] == {"condition": "service_healthy"}
    assert services["lowtide"]["volumes"] == [f"./lowtide:{last_stage()['WORKDIR']}"]
    path = tmp_path / "config.toml"
    path.write_text('extends = "shipped"\n')
    settings = load(path, services["lowtide"]["environment"])
    assert settings.redis_url == "redis://valkey:6379/0"


def test_these_checks_see_what_is_wrong() -> None:
    text = "# x\nFROM a\nRUN one \\\n && two\n# y\nCOPY a b/\n"
    assert list(instructions(text)) == [("FROM", "a"), ("RUN", "one && two"), ("COPY", "a b/")]
    assert ignored("x", ["*"]) and not ignored("x", ["*", "!x"]) and ignored("y", ["*", "!x"])
