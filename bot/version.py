"""Which Lowtide this is: its version, and the commit that it was built from."""

import shutil
import subprocess
from pathlib import Path

from bot import __version__

_PACKAGE = Path(__file__).resolve().parent
_DIGITS = 12
_PATIENCE_S = 5.0


def description(package: Path = _PACKAGE) -> str:
    """``lowtide 0.1.0 (commit 0123456789ab)``; ``-dirty`` behind it means changes since."""
    return f"lowtide {__version__} (commit {commit(package)})"


def commit(package: Path = _PACKAGE) -> str:
    """The commit of the folder ``package``; ``unknown`` where nothing says.

    What is built from ``git archive``, as releases are, carries it in ``commit.txt``
    (``.gitattributes``). A checkout has a placeholder there, and asks git.
    """
    try:
        written = (package / "commit.txt").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        written = ""
    if written and not written.startswith("$Format"):
        return written[:_DIGITS]
    git = shutil.which("git")
    # Only a checkout of our own: a folder of packages may lie in somebody else's.
    if git is None or not (package.parent / ".git").exists():
        return "unknown"
    ask = [git, "-C", str(package.parent), "describe"]
    ask += ["--always", "--exclude=*", f"--abbrev={_DIGITS}", "--dirty"]
    try:
        answer = subprocess.run(  # noqa: S603, every word is our own
            ask, capture_output=True, text=True, check=True, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"
