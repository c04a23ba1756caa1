"""The documentation as a site, and its pages in other languages."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^ *```\w*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]+"')


def pages(nav: list[dict[str, object]]) -> Iterator[str]:
    """The pages of a menu, in its order."""
    for entry in nav:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from pages(value)


def blocks(name: str) -> list[str]:
    """What is typed or seen, line by line without the margin."""
    code = FENCE.findall((ROOT / name).read_text(encoding="utf-8"))
    return ["\n".join(line.strip() for line in block.splitlines()) for block in code]


def test_the_site_has_each_page_and_asks_no_other_host():
    run = subprocess.run(
        ["make", "--no-print-directory", "docs", f"VENV={sys.prefix}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    menu = list(pages(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]))
    here = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    assert sorted(menu) == sorted(str(page.relative_to(ROOT)) for page in here)
    for page in menu:
        html = "index.html" if page == "README.md" else page.removesuffix(".md") + ".html"
        text = (ROOT / "build" / "site" / html).read_text(encoding="utf-8")
        assert ELSEWHERE.findall(text) == []
        assert len(text) > 5_000


@pytest.mark.parametrize("language", ["zh-TW", "ja"])
def test_a_page_in_another_language_shows_the_same_commands(language: str):
    assert blocks(f"docs/tuning.{language}.md") == blocks("docs/tuning.md")
    start, readme = blocks(f"docs/start.{language}.md"), blocks("README.md")
    *shown, setting = start
    assert setting == f'[channel]\nlanguage = "{language}"'
    assert [block for block in readme if block in shown] == shown
    assert len(shown) == 4
