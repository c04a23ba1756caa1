"""Releases, made in a clone; and a version, a changelog and tags that agree."""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bot import __version__
from bot.version import commit, description
from tests.conftest import ROOT
from tests.gates.release import (
    CHANGES,
    HEADING,
    INIT,
    LOCK,
    ReleaseError,
    bill_of_materials,
    build,
    changelog,
    ensure_ready,
    git,
    numbers,
    release,
)

IN_GIT = (ROOT / ".git").exists()
needs_git = pytest.mark.skipif(not IN_GIT, reason="not a checkout: there is no .git")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The checkout as it is now, uncommitted changes too, committed in a clone."""
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
    git(folder, "config", "user.name", "Releaser")
    git(folder, "config", "user.email", "releaser@example.org")
    changed = git(ROOT, "ls-files", "--modified", "--others", "--exclude-standard").splitlines()
    for name in changed:
        (folder / name).unlink(missing_ok=True)
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "as it is")
    return folder


@needs_git
def test_a_release_is_a_commit_a_tag_and_three_files(clone: Path) -> None:
    before = (clone / CHANGES).read_text()
    built = release(clone, "7.1.0")
    assert [path.name for path in built] == [
        "lowtide-7.1.0-py3-none-any.whl",
        "lowtide-7.1.0.cdx.json",
        "lowtide-7.1.0.tar.gz",
    ]
    assert git(clone, "describe", "--exact-match") == "v7.1.0"
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "log", "-1", "--format=%s") == "Release 7.1.0"
    assert (clone / INIT).read_text().endswith('__version__ = "7.1.0"\n')
    after = (clone / CHANGES).read_text()
    assert after.startswith(
        before.partition("## [Unreleased]\n")[0] + "## [Unreleased]\n\n## [7.1.0] - "
    )
    head = git(clone, "rev-parse", "HEAD")

    site = clone.parent / "site"
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(site)  # noqa: S202, built here
    run = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bot.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-S", "-c", run, str(site), "--version"],
        cwd=clone.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"lowtide 7.1.0 (commit {head[:12]})\n", "")
    with tarfile.open(built[2]) as source:
        assert "lowtide-7.1.0/rules/engine.py" in source.getnames()

    with pytest.raises(ReleaseError, match=r"the tag v7\.1\.0 exists"):
        ensure_ready(clone, "7.1.0")
    with pytest.raises(ReleaseError, match="says nothing under"):
        ensure_ready(clone, "7.2.0")


@needs_git
def test_a_commit_is_always_built_to_the_same_bytes(clone: Path, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in build(clone, "HEAD", tmp_path / "first")]
    usual = os.umask(0o077)
    try:
        second = [path.read_bytes() for path in build(clone, "HEAD", tmp_path / "second")]
    finally:
        os.umask(usual)
    assert len(first) == 3
    assert first == second


def test_a_bill_of_materials_has_what_runs_with_its_hashes() -> None:
    bill = json.loads(bill_of_materials((ROOT / LOCK).read_text("utf-8"), "7.1.0", 1_791_014_400))
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    assert bill["metadata"]["timestamp"] == "2026-10-03T08:00:00Z"
    assert bill["metadata"]["component"]["version"] == "7.1.0"
    parts = {part["name"]: part for part in bill["components"]}
    locked = re.findall(r"^([\w-]+)==(\S+)", (ROOT / LOCK).read_text("utf-8"), re.MULTILINE)
    assert {(part["name"], part["version"]) for part in bill["components"]} == set(locked)
    assert parts["aiohttp"]["purl"] == f"pkg:pypi/aiohttp@{dict(locked)['aiohttp']}"
    assert all(len(digest["content"]) == 64 for digest in parts["aiohttp"]["hashes"])
    refs = [part["bom-ref"] for part in bill["components"]]
    assert len(refs) == len(set(refs))


@needs_git
def test_nothing_changes_where_the_build_fails(clone: Path) -> None:
    (clone / "pyproject.toml").write_text("broken")
    git(clone, "commit", "--quiet", "--all", "--message", "broken")
    before = git(clone, "rev-parse", "HEAD")
    with pytest.raises(ReleaseError, match="the build failed"):
        release(clone, "7.1.0")
    assert git(clone, "rev-parse", "HEAD") == before
    assert git(clone, "status", "--porcelain") == git(clone, "tag", "--list", "v7*") == ""


@needs_git
@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.0", "no version"),
        ("v1.0.0", "no version"),
        ("01.0.0", "no version"),
        ("0.0.9", "lower than"),
    ],
)
def test_versions_that_are_refused(version: str, words: str, clone: Path) -> None:
    with pytest.raises(ReleaseError, match=words):
        ensure_ready(clone, version)


@needs_git
def test_a_tree_with_changes_is_not_released(clone: Path) -> None:
    (clone / "new.txt").write_text("new")
    with pytest.raises(ReleaseError, match=r"(?s)has changes.*new\.txt"):
        release(clone, "7.1.0")


def test_the_changelog_keeps_what_was_released_before() -> None:
    text = "# Changelog\n\n## [Unreleased]\n\n- b\n\n## [0.1.0] - 2026-01-01\n\n- a\n"
    assert changelog(text, "0.2.0", "2026-02-02") == (
        "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-02-02\n\n- b\n\n"
        "## [0.1.0] - 2026-01-01\n\n- a\n"
    )
    with pytest.raises(ReleaseError, match=r"has 0\.1\.0 already"):
        changelog(text, "0.1.0", "2026-02-02")
    with pytest.raises(ReleaseError, match="no line"):
        changelog("# Changelog\n", "0.2.0", "2026-02-02")


def disagreements(version: str, changes: str, tags: list[str], here: list[str]) -> list[str]:
    """What does not fit: the version of the package, the headings of the changelog, the tags of
    the repository and those of this very commit."""
    released = [name for name, _ in HEADING.findall(changes)]
    wrong = [f"{tag} is not in the changelog" for tag in tags if tag[1:] not in released]
    wrong += [f"{tag} is tagged, the package says {version}" for tag in here if tag[1:] != version]
    if released and released[0] != version:
        wrong.append(f"the changelog's newest is {released[0]}, the package says {version}")
    if released != sorted(released, key=numbers, reverse=True):
        wrong.append("the changelog's versions are not in order")
    return wrong


def test_version_changelog_and_tags_agree() -> None:
    tags = git(ROOT, "tag", "--list", "v*").split() if IN_GIT else []
    here = git(ROOT, "tag", "--list", "v*", "--points-at", "HEAD").split() if IN_GIT else []
    assert disagreements(__version__, (ROOT / CHANGES).read_text(), tags, here) == []
    numbers(__version__)


def test_disagreements_are_seen() -> None:
    changes = "## [0.2.0] - 2026-02-02\n## [0.1.0] - 2026-01-01\n"
    assert disagreements("0.2.0", changes, ["v0.1.0", "v0.2.0"], ["v0.2.0"]) == []
    assert disagreements("0.1.0", changes, ["v0.3.0"], ["v0.2.0"]) == [
        "v0.3.0 is not in the changelog",
        "v0.2.0 is tagged, the package says 0.1.0",
        "the changelog's newest is 0.2.0, the package says 0.1.0",
    ]
    swapped = "## [0.9.0] - 2026-02-02\n## [0.10.0] - 2026-01-01\n"
    assert disagreements("0.9.0", swapped, [], []) == ["the changelog's versions are not in order"]


@needs_git
def test_a_checkout_asks_git_for_its_commit(clone: Path) -> None:
    head = git(clone, "rev-parse", "HEAD")[:12]
    assert commit(clone / "bot") == head
    (clone / "README.md").write_text("changed")
    assert commit(clone / "bot") == f"{head}-dirty"
    assert description(clone / "bot") == f"lowtide {__version__} (commit {head}-dirty)"


def test_what_nothing_says_is_unknown(tmp_path: Path) -> None:
    """Also where the folder of packages lies in a checkout of somebody else's."""
    git(tmp_path, "init", "--quiet")
    package = tmp_path / "site-packages" / "bot"
    package.mkdir(parents=True)
    assert commit(package) == "unknown"
    (package / "commit.txt").write_text("$Format:%H$\n")
    assert commit(package) == "unknown"
    (package / "commit.txt").write_text("0123456789abcdef\n")
    assert commit(package) == "0123456789ab"
