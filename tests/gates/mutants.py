"""Mutants: small mistakes, each made once in an important module, that a test must see.

``make mutants`` runs mutmut on a copy of the tree, and says of each mistake that no test saw where
it is, what it is, and which tests ran it and should have seen it.

    make mutants ARGS="rules/episode.py"       one module
    make mutants ARGS="--since main"           the lines changed since a commit; ends with 1
    make mutants ARGS="--minutes 60"           longer than the usual ten minutes

A mistake that changes nothing anybody could see is marked in its line: ``# pragma: no mutate``.
mutmut leaves out what is decorated (a property) and what is in no function.
"""

import argparse
import ast
import contextlib
import difflib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES: Mapping[str, tuple[str, ...]] = {
    "rules/episode.py": ("tests/rules/test_episode.py", "tests/rules/test_composite.py"),
    "rules/composite.py": ("tests/rules/test_composite.py",),
    "rules/judge.py": (
        "tests/rules/test_composite.py",
        "tests/rules/test_engine.py",
        "tests/rules/test_rule_when.py",
        "tests/rules/metrics/test_cause.py",
    ),
    "rules/records.py": ("tests/rules/test_records.py",),
    "rules/feed_health.py": ("tests/rules/test_feed_health.py",),
    "rules/faults.py": ("tests/rules/test_faults.py",),
    "rules/likeness.py": ("tests/rules/test_likeness.py",),
    "rules/interest.py": ("tests/rules/metrics",),
    "rules/windows.py": ("tests/rules/metrics", "tests/rules/test_records.py"),
    "rules/metrics/*.py": ("tests/rules/metrics",),
    "streams/feed/book*.py": (
        "tests/streams/feed/test_book.py",
        "tests/streams/feed/test_books.py",
    ),
    "bot/plan/*.py": ("tests/bot/plan",),
    "bot/delivery/queue.py": ("tests/bot/delivery/test_queue.py",),
    "bot/delivery/pace.py": ("tests/bot/delivery/test_pace.py", "tests/bot/delivery/test_queue.py"),
    "bot/delivery/rendering.py": (
        "tests/bot/delivery/test_rendering.py",
        "tests/bot/delivery/test_queue.py",
    ),
}
"""The important modules, pure all of them, and the tests that must see a mistake in them."""

SURVIVED, NO_TESTS = 0, 33
"""mutmut's words for: the tests passed all the same; no test runs the function."""
MUTANT = re.compile(r"(.+)__mutmut_(\d+)")
HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


class Survivor(NamedTuple):
    """A mistake that no test has seen."""

    file: str
    line: int
    was: str
    became: str
    tests: tuple[str, ...]
    """Those that ran the function; empty if none does."""

    def __str__(self) -> str:
        seen_by = "no test runs it"
        if self.tests:
            more = f" and {len(self.tests) - 3} more" if len(self.tests) > 3 else ""
            seen_by = f"should have been seen by {', '.join(self.tests[:3])}{more}"
        return f"{self.file}:{self.line}: {self.was}  →  {self.became}\n    {seen_by}"


class Outcome(NamedTuple):
    """What became of the mutants of a run."""

    killed: int
    unchecked: int
    """The time was up."""
    survivors: list[Survivor]


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def chosen(root: Path, wanted: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The important modules, or those of them that are wanted, each with its tests."""
    modules = {
        path.relative_to(root).as_posix(): tests
        for pattern, tests in MODULES.items()
        for path in sorted(root.glob(pattern))
        if path.name != "__init__.py"
    }
    if unknown := [name for name in wanted if name not in modules]:
        sys.exit(f"{unknown[0]} is none of the modules that MODULES in {__file__} lists")
    return {name: tests for name, tests in modules.items() if not wanted or name in wanted}


def changed_lines(root: Path, since: str) -> dict[str, set[int]]:
    """File → the lines of it that are new or changed since the commit."""
    changed: dict[str, set[int]] = {}
    for part in re.split(r"^\+\+\+ b/", git(root, "diff", "-U0", since, "--"), flags=re.M)[1:]:
        lines = changed.setdefault(part.partition("\n")[0], set())
        for start, count in HUNK.findall(part):
            lines.update(range(int(start), int(start) + int(count or 1)))
    return changed


def functions(source: str) -> Iterator[tuple[str, int, int]]:
    """mutmut's name of each function of a module, with its first and last line."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            yield f"x_{node.name}", node.lineno, node.end_lineno or node.lineno
        for method in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(method, ast.FunctionDef):
                yield f"xǁ{node.name}ǁ{method.name}", method.lineno, method.end_lineno or 0


def workspace(root: Path, folder: Path, modules: Mapping[str, tuple[str, ...]]) -> None:
    """A copy of the tree, so that nothing here is touched, with mutmut's settings in it."""
    for name in git(root, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        source, target = root / name, folder / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=False)
    tops = sorted(path.name for path in folder.iterdir() if path.name != "pyproject.toml")
    tests = dict.fromkeys(test for tests in modules.values() for test in tests)
    settings = {
        "source_paths": sorted({name.partition("/")[0] for name in modules}),
        "only_mutate": list(modules),
        "also_copy": tops,
        "pytest_add_cli_args_test_selection": list(tests),
        "use_setproctitle": False,
    }
    with (folder / "pyproject.toml").open("a") as file:
        file.write("\n[tool.mutmut]\n")
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


def run(folder: Path, names: Sequence[str], minutes: float) -> str:
    """mutmut on a workspace until it is done or the time is up; what it said."""
    log = folder / "log.txt"
    workers = str(os.cpu_count() or 1)
    with log.open("w") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "mutmut", "run", "--max-children", workers, *names],
            cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis")},
        )  # fmt: skip
        try:
            running.wait(minutes * 60)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(30)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
    return log.read_text(errors="replace").replace("\r", "\n")


def outcome(folder: Path, modules: Mapping[str, object], names: Sequence[str]) -> Outcome:
    """What mutmut has written down about the mutants of a workspace, or those of these names."""
    stats = folder / "mutants" / "mutmut-stats.json"
    tests = (
        json.loads(stats.read_text())["tests_by_mangled_function_name"] if stats.exists() else {}
    )
    killed = unchecked = 0
    survivors: list[Survivor] = []
    for file in modules:
        noted = folder / "mutants" / f"{file}.meta"
        if not noted.exists():
            continue
        module = file.removesuffix(".py").replace("/", ".")
        for name, code in json.loads(noted.read_text())["exit_code_by_key"].items():
            if names and not any(fnmatchcase(name, pattern) for pattern in names):
                continue
            if code is None:
                unchecked += 1
            elif code not in (SURVIVED, NO_TESTS):
                killed += 1
            elif change := difference(folder, file, name.removeprefix(f"{module}.")):
                function = name.rpartition("__mutmut_")[0]
                ran = () if code == NO_TESTS else tuple(sorted(tests.get(function, ())))
                survivors.append(Survivor(file, *change, ran))
    return Outcome(killed, unchecked, sorted(survivors))


def difference(folder: Path, file: str, name: str) -> tuple[int, str, str] | None:
    """Line of the module, what stands there, and what the mutant has instead."""
    parsed = MUTANT.fullmatch(name)
    if parsed is None:
        return None
    mutated = (folder / "mutants" / file).read_text().splitlines()
    spans = json.loads((folder / "mutants" / f"{file}.spans").read_text())["spans"]
    starts = {function: first for function, first, _ in functions((folder / file).read_text())}
    function = parsed[1]
    if function not in starts:
        return None
    plain = function.rpartition("ǁ")[2].removeprefix("x_")

    def text(mangled: str) -> list[str]:
        first, end = spans[mangled]  # counted from 0; blank lines may come before the function
        lines = dropwhile(lambda line: not line.strip(), mutated[first:end])
        return [line.replace(mangled, plain) for line in lines]

    original, mutant = text(f"{function}__mutmut_orig"), text(name)
    for kind, a, b, c, d in difflib.SequenceMatcher(None, original, mutant).get_opcodes():
        if kind != "equal":
            was, became = (
                " ".join(" ".join(part).split()) for part in (original[a:b], mutant[c:d])
            )
            return starts[function] + a, was or "(nothing)", became or "(nothing)"
    return None


def mutants(root: Path, wanted: Sequence[str], since: str | None, minutes: float) -> Outcome:
    """Try the modules wanted, or all; with ``since``, the changed lines only."""
    modules = chosen(root, wanted)
    names: list[str] = []
    changed: dict[str, set[int]] = {}
    if since is not None:
        changed = changed_lines(root, since)
        modules = {name: tests for name, tests in modules.items() if name in changed}
        for file in modules:
            module = file.removesuffix(".py").replace("/", ".")
            for function, first, last in functions((root / file).read_text()):
                if changed[file] & set(range(first, last + 1)):
                    names.append(f"{module}.{function}__mutmut_*")
        if not names:
            return Outcome(0, 0, [])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        workspace(root, folder, modules)
        log = run(folder, names, minutes)
        tried = outcome(folder, modules, names)
    if not any((tried.killed, tried.survivors, tried.unchecked)):
        sys.exit(f"no mutant was tried:\n{log[-2000:]}")
    if since is None:
        return tried
    survivors = [each for each in tried.survivors if each.line in changed[each.file]]
    return tried._replace(survivors=survivors)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", metavar="MODULE", nargs="*", help="such as rules/episode.py")
    parser.add_argument("--since", metavar="COMMIT", help="only lines changed since then")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="at most (10)")
    options = parser.parse_args()
    tried = mutants(ROOT, options.modules, options.since, options.minutes)
    for survivor in tried.survivors:
        print(survivor)
    left = f", {tried.unchecked} not tried in {options.minutes:g} min" if tried.unchecked else ""
    print(f"{tried.killed} mutants killed, {len(tried.survivors)} survived{left}")
    sys.exit(1 if options.since and tried.survivors else 0)


if __name__ == "__main__":
    main()
