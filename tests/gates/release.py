"""A release: ``make release VERSION=x.y.z``.

What was unreleased in CHANGELOG.md moves under the version, the version is written, both are
committed, a wheel and a source archive are built from that commit, with a bill of what they need in
the form of CycloneDX, and the commit gets the tag ``vx.y.z``. The same commit always gives the same
bytes: they are built from ``git archive``, and all times in them are the commit's. Nothing is
pushed or published.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
INIT, CHANGES, LOCK = "bot/__init__.py", "CHANGELOG.md", "requirements.lock"
UNRELEASED = "## [Unreleased]\n"
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
WRITTEN = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
HEADING = re.compile(r"^## \[(\d[^\]]*)\] - (\d{4}-\d\d-\d\d)$", re.MULTILINE)
BUILD = """
import os, sys
from setuptools import build_meta
os.umask(0o022)
folder = sys.argv[1]  # setuptools changes sys.argv
build_meta.build_sdist(folder)
build_meta.build_wheel(folder)
"""


class ReleaseError(Exception):
    """Why there is no release, and what to do."""


def git(root: Path, *arguments: str) -> str:
    """What git answers; ``ReleaseError`` with its last line where it fails."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ReleaseError(
            f"git {arguments[0]}: {(done.stderr.strip() or 'failed').splitlines()[-1]}"
        )
    return done.stdout.strip()


def numbers(version: str) -> tuple[int, ...]:
    """``0.10.2`` → (0, 10, 2), so that versions can be compared."""
    if not VERSION.fullmatch(version):
        raise ReleaseError(f"{version!r} is no version: three numbers, such as 0.2.0")
    return tuple(int(part) for part in version.split("."))


def changelog(text: str, version: str, day: str) -> str:
    """CHANGELOG.md with what was unreleased under the version, and nothing unreleased."""
    if UNRELEASED not in text:
        raise ReleaseError(f"{CHANGES} has no line {UNRELEASED.strip()}")
    if any(known == version for known, _ in HEADING.findall(text)):
        raise ReleaseError(f"{CHANGES} has {version} already")
    before, _, after = text.partition(UNRELEASED)
    following = HEADING.search(after)
    if not after[: following.start() if following else None].strip():
        raise ReleaseError(f"{CHANGES} says nothing under {UNRELEASED.strip()[3:]}: what is new?")
    return f"{before}{UNRELEASED}\n## [{version}] - {day}\n{after}"


def ensure_ready(root: Path, version: str) -> None:
    """``ReleaseError`` unless the version may be released from the tree as it is."""
    new = numbers(version)
    if dirty := git(root, "status", "--porcelain"):
        raise ReleaseError(f"the tree has changes: commit them first\n{dirty}")
    if git(root, "tag", "--list", f"v{version}"):
        raise ReleaseError(f"the tag v{version} exists: take a higher version")
    written = WRITTEN.search((root / INIT).read_text(encoding="utf-8"))
    if written is None:
        raise ReleaseError(f"{INIT} has no __version__")
    if new < numbers(written[1]):
        raise ReleaseError(f"{version} is lower than {written[1]}, which {INIT} says")
    changelog((root / CHANGES).read_text(encoding="utf-8"), version, "")


def release(root: Path, version: str) -> list[Path]:
    """Commit, build and tag; the built files. Where the build fails, nothing has changed."""
    ensure_ready(root, version)
    before = git(root, "rev-parse", "HEAD")
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    changes = root / CHANGES
    changes.write_text(changelog(changes.read_text(encoding="utf-8"), version, day), "utf-8")
    init = root / INIT
    text = WRITTEN.sub(f'__version__ = "{version}"', init.read_text(encoding="utf-8"))
    init.write_text(text, encoding="utf-8")
    try:
        git(root, "commit", "--quiet", "--message", f"Release {version}", INIT, CHANGES)
        built = build(root, "HEAD", root / "build" / "release")
        git(root, "tag", "--annotate", "--message", f"Lowtide {version}", f"v{version}")
    except BaseException:
        git(root, "reset", "--quiet", "--hard", before)  # the tree was clean: nothing is lost
        raise
    return built


def build(root: Path, commit: str, folder: Path) -> list[Path]:
    """The wheel, the source archive and the bill of materials of a commit, in ``folder``, which is
    emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seconds = int(git(root, "show", "--no-patch", "--format=%ct", commit))
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / "tree"
        tree.mkdir()
        archive = Path(temporary) / "tree.tar"
        git(root, "archive", "--format=tar", f"--output={archive}", commit)
        with tarfile.open(archive) as packed:
            packed.extractall(tree, filter="tar")
        version = WRITTEN.search((tree / INIT).read_text(encoding="utf-8"))
        lock = (tree / LOCK).read_text(encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(folder)],
            cwd=tree, capture_output=True, text=True, check=False,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(seconds)},
        )  # fmt: skip
    if done.returncode:
        raise ReleaseError(f"the build failed:\n{done.stderr.strip()}")
    if version is None:
        raise ReleaseError(f"{INIT} has no __version__")
    bill = bill_of_materials(lock, version[1], seconds)
    (folder / f"lowtide-{version[1]}.cdx.json").write_text(bill, encoding="utf-8")
    for source in folder.glob("*.tar.gz"):
        source.write_bytes(timeless(source.read_bytes(), seconds))
    return sorted(folder.iterdir())


def pins(lock: str) -> dict[str, dict[str, frozenset[str]]]:
    """Package → its version (several, if Pythons need several) → hashes, in the text of a lock."""
    pinned: dict[str, dict[str, frozenset[str]]] = {}
    for block in re.split(r"^(?=[\w-]+==)", lock, flags=re.MULTILINE)[1:]:
        name, version = block.split(" ", 1)[0].split("==")
        hashes = frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", block))
        pinned.setdefault(name, {})[version] = hashes
    return pinned


def bill_of_materials(lock: str, version: str, seconds: int) -> str:
    """What runs beside Lowtide, with the hashes that the lock allows, in the form of CycloneDX 1.6
    (https://cyclonedx.org/docs/1.6/json/). ``seconds``: when the commit was made."""
    packages = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{pinned}",
            "name": name,
            "version": pinned,
            "purl": f"pkg:pypi/{name}@{pinned}",
            "hashes": [
                {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}
                for digest in sorted(hashes)
            ],
        }
        for name, versions in sorted(pins(lock).items())
        for pinned, hashes in sorted(versions.items())
    ]
    own = {"type": "application", "bom-ref": "lowtide", "name": "lowtide", "version": version}
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"lowtide@{version} {seconds}")
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "component": own,
        },
        "components": packages,
    }
    return json.dumps(bill, indent=1) + "\n"


def timeless(archive: bytes, seconds: int) -> bytes:
    """A tar.gz with the same files, in order, without owners, and with one time for all."""
    plain = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as packed,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as repacked,
    ):
        for member in sorted(packed.getmembers(), key=lambda entry: entry.name):
            member.mtime, member.pax_headers = seconds, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            repacked.addfile(member, packed.extractfile(member) if member.isfile() else None)
    return gzip.compress(plain.getvalue(), mtime=0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("version", metavar="VERSION", help="such as 0.2.0")
    parser.add_argument("--check", action="store_true", help="only say whether it may be released")
    options = parser.parse_args()
    try:
        if options.check:
            ensure_ready(ROOT, options.version)
            return
        built = release(ROOT, options.version)
    except ReleaseError as error:
        sys.exit(f"no release: {error}")
    for path in built:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}")
    print(f"committed and tagged; to publish: git push origin HEAD v{options.version}")


if __name__ == "__main__":
    main()
