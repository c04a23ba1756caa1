"""Texts that people have read and agreed on; one variable writes all of them anew.

``LOWTIDE_GOLDEN=write make test`` puts what is said now in the place of what was agreed: then read
the difference, since it is what you claim.
"""

import os
from pathlib import Path


def writing() -> bool:
    """Whether agreed texts are to be written anew."""
    return os.environ.get("LOWTIDE_GOLDEN") == "write"


def check_text(path: Path, text: str) -> None:
    """``text`` is what the file has, or the file has it from now on."""
    if writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing: write it with LOWTIDE_GOLDEN=write, and read it"
    assert text == path.read_text(encoding="utf-8")
