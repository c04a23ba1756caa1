"""Reasons of errors: said in English where they arise, and in the language of whoever reads them.

What this program says of an error is found in its source, so that none is without a translation.
"""

import ast
import errno
import os
import re
from pathlib import Path

import pytest

from bot.lang import ENGLISH, LANGUAGES
from streams.events import length_in_words
from streams.feed.errors import refusal

ROOT = Path(__file__).parents[3]
OTHERS = [name for name in LANGUAGES if name != "en"]

WHERE = {
    "streams/feed/errors.py": (),
    "streams/bus/connection.py": ("unsafe", "in_words", "_commit", "commit", "saved"),
    "streams/bus/skew.py": ("clock_words", "_venue_words"),
    "bot/delivery/sinks/telegram.py": (
        "_meaning", "_forbidden", "no_administrator", "no_right", "_bad_request", "_topic_refused",
        "_number", "_chat",
    ),
    "bot/delivery/sinks/webhook.py": ("_endpoint", "_post", "_judge"),
    "bot/delivery/sinks/messenger.py": ("send", "_account", "judge_answer"),
    "bot/delivery/sinks/services.py": ("line_refusal",),
    "bot/delivery/sinks/apprise.py": (
        "_name", "_run", "judge_end", "command_missing", "_not_started",
    ),
    "bot/delivery/queue.py": ("_resolve", "_expire"),
    "bot/delivery/sender.py": ("_bug",),
    "bot/roles/run.py": ("_reason", "_mind_others"),
    "streams/feed/selection.py": ("_meant",),
}  # fmt: skip
"""Where reasons are worded; of a module all functions, or those named."""

NO_REASONS = {
    "access too frequent", "too frequent", "a role failed", "member list is inaccessible",
    "chat not found", "No space left", "no such key", "dict[bytes, bytes]",
    ", a redirect, which is not followed",
}  # fmt: skip
"""Texts there that nobody reads as a reason: what others say, and what the log says."""


def reasons_in(path: str, functions: tuple[str, ...]) -> set[str]:
    """The sentences in a module, with a value in each place."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    wanted = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (not functions or node.name in functions)
    ]
    tables = [node for node in tree.body if isinstance(node, ast.Assign) and not functions]
    return {text for node in [*wanted, *tables] for text in sentences(node)} - NO_REASONS


def sentences(node: ast.AST) -> set[str]:
    inner = {
        id(part)
        for joined in ast.walk(node)
        if isinstance(joined, ast.JoinedStr | ast.Expr) or is_log(joined)
        for part in ast.walk(joined)
        if part is not joined and (not isinstance(joined, ast.Expr) or is_docstring(joined, part))
    }
    texts = {filled(part) for part in ast.walk(node) if id(part) not in inner}
    return {text for text in texts if text is not None and text.strip().count(" ") >= 2}


def is_log(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.")


def is_docstring(statement: ast.Expr, part: ast.AST) -> bool:
    return statement.value is part and isinstance(part, ast.Constant)


def filled(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else value_of(ast.unparse(part))
        for part in node.values
    )


def value_of(place: str) -> str:
    """Something that may stand in a place of an f-string."""
    samples = {"length": "3 h 20 min", "pause": "60", "redirect": ""}
    known = next((text for name, text in samples.items() if name in place), None)
    return "7" if known is None else known


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("path", WHERE)
def test_every_reason_has_a_translation(path: str, language: str):
    reasons = reasons_in(path, WHERE[path])
    assert reasons, "nothing was found: is the function named otherwise now?"
    translated = LANGUAGES[language].reasons.translated
    for reason in reasons:
        text = translated(reason).replace("timedatectl set-ntp true", "")  # what is typed
        assert not re.search(r"[a-z]{2,} [a-z]{2,}", text), reason


@pytest.mark.parametrize("language", OTHERS)
def test_a_reason_within_a_reason_is_translated_and_what_is_foreign_is_quoted(language: str):
    translated = LANGUAGES[language].reasons.translated
    refused = translated("the connection was refused")
    assert translated("webhook:desk gives no answer: the connection was refused").endswith(refused)
    foreign = translated("Redis refused a command: ERR unknown command")
    assert foreign.endswith("「ERR unknown command」")
    assert (
        translated("ERR unknown command, with {braces}") == "「ERR unknown command, with {braces}」"
    )
    assert translated("KeyError: 'e'") == "KeyError: 'e'", "a name is no sentence"
    assert translated("-100987") == "-100987"
    assert translated("") == ""


@pytest.mark.parametrize("language", OTHERS)
def test_several_reasons_are_translated_each(language: str):
    words = LANGUAGES[language]
    assert "「" not in words.reasons.translated(refusal(302, {}).words)
    texts = ["by 10 s", "the bot is not in 5 any more (x); add it again", "it broke down badly"]
    each = [words.reasons.translated(text) for text in texts]
    assert each[2] == "「it broke down badly」"
    assert words.reasons.translated("; ".join(texts)) == words.semicolon.join(each)
    lost = words.reasons.translated("episodes (2), records (1)")
    assert lost == words.comma.join(map(words.reasons.term, ("episodes (2)", "records (1)")))


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("ms", [1_000, 90_000, 7_200_000, 12_000_000, 4_320_000_000])
def test_a_length_of_time_is_written_as_the_language_does(language: str, ms: int):
    words = LANGUAGES[language]
    text = words.reasons.translated(f"by {length_in_words(ms)}")
    assert words.length(ms) in text


@pytest.mark.parametrize("language", OTHERS)
def test_what_a_disk_says_is_translated(language: str):
    for code in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EMFILE):
        assert LANGUAGES[language].reasons.translated(os.strerror(code)) != os.strerror(code)


def test_english_stays_as_it_was_said():
    for text in ("the connection was refused", "whatever; it is, so\nand so", "{x}"):
        assert ENGLISH.reasons.translated(text) == text
        assert ENGLISH.reasons.term(text) == text


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("text", ["(" * 50, "a" * 5_000, "; " * 500, ", " * 500, "by ", "h min s"])
def test_whatever_somebody_else_says_can_be_passed_on(language: str, text: str):
    assert LANGUAGES[language].reasons.translated(text)
