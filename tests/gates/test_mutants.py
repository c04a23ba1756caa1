"""The mutation run says what no test saw, on a project of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gates import mutants
from tests.gates.mutants import Outcome, changed_lines, chosen, functions

MODULE = '''\
"""Two functions, one of them tested to its boundary."""


def breached(value: float, level: float) -> bool:
    return value >= level


class Count:
    def more(self, by: int) -> int:
        return by + 1
'''
TESTS = """\
from rules.sample import Count, breached


def test_breached() -> None:
    assert breached(3, 2) and not breached(1, 2)


def test_more() -> None:
    assert Count().more(2) == 3
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a module that says ``>=``, whose tests do not see where it is met."""
    root = tmp_path / "project"
    for name, text in {
        "rules/__init__.py": "",
        "rules/sample.py": MODULE,
        "tests/test_sample.py": TESTS,
        "pyproject.toml": "[project]\nname = 'sample'\nversion = '1'\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(mutants, "MODULES", {"rules/*.py": ("tests/test_sample.py",)})
    for name in [name for name in os.environ if name.startswith(("PYTEST_", "COVERAGE_"))]:
        monkeypatch.delenv(name)
    run = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*run, *words], cwd=root, check=True)
    return root


def test_what_no_test_saw_is_said_with_its_place(project: Path) -> None:
    tried = mutants.mutants(project, [], None, 5)
    (boundary,) = [each for each in tried.survivors if ">" in each.became]
    assert (boundary.file, boundary.line) == ("rules/sample.py", 5)
    assert (boundary.was, boundary.became) == ("return value >= level", "return value > level")
    assert boundary.tests == ("tests/test_sample.py::test_breached",)
    assert str(boundary) == (
        "rules/sample.py:5: return value >= level  →  return value > level\n"
        "    should have been seen by tests/test_sample.py::test_breached"
    )
    assert (tried.survivors, tried.unchecked) == ([boundary], 0)
    assert tried.killed >= 2


def test_only_changed_lines_are_tried(project: Path) -> None:
    assert mutants.mutants(project, [], "HEAD", 5) == Outcome(0, 0, [])
    sample = project / "rules" / "sample.py"
    sample.write_text(MODULE.replace("by + 1", "1 + by"))
    assert changed_lines(project, "HEAD") == {"rules/sample.py": {10}}
    tried = mutants.mutants(project, [], "HEAD", 5)
    assert (tried.survivors, tried.unchecked) == ([], 0)
    assert tried.killed >= 2


def test_functions_are_named_as_mutmut_names_them() -> None:
    assert list(functions(MODULE)) == [("x_breached", 4, 5), ("xǁCountǁmore", 9, 10)]


def test_every_important_module_has_tests_that_are_there() -> None:
    modules = chosen(mutants.ROOT, [])
    assert len(modules) > 15
    assert [
        test for tests in modules.values() for test in tests if not (mutants.ROOT / test).exists()
    ] == []
    assert [pattern for pattern in mutants.MODULES if not list(mutants.ROOT.glob(pattern))] == []


def test_a_module_that_is_not_listed_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gates.mutants", "bot/cli.py"],
        cwd=mutants.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("bot/cli.py is none of the modules that MODULES")
