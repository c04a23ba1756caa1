"""The weekly report in posts: as few as take it, nothing lost, valid for whoever takes them."""

from collections.abc import Iterator
from itertools import count

import pytest

from bot.delivery.outgoing import missing_report_message, report_posts
from bot.delivery.post import Post
from bot.delivery.queue import digests
from bot.delivery.sinks.services import Account, apprise_call, request_of
from bot.destination import ConsoleOutput, Destination, MessengerName, Service, TelegramChat
from bot.lang import LANGUAGES
from bot.messages.blocks import MOST_CHARS, blocks, plain, visible
from bot.plan.planner import Chat
from bot.plan.weekly import LATEST, DueReport
from streams.durations import HOUR, MINUTE
from tests.bot.posts import START

DUE = DueReport(week=START - 7 * 24 * HOUR, at=START, too_late=False)
HEAD = "Market structure, 16 Nov to 22 Nov (UTC)"

TOPIC = TelegramChat(-1, 7)


def section(n: int, lines: int = 7) -> str:
    return "\n".join(f"C{n} figure {k} & <more>: 市場 " + "x" * 60 for k in range(lines))


def report(sections: int, lines: int = 7) -> str:
    return "\n\n".join([HEAD, *(section(n, lines) for n in range(sections))])


def posts(text: str, to: Destination = TOPIC, language: str = "en", late: int = 0) -> list[Post]:
    numbers: Iterator[int] = count(5)
    chat = Chat(destination=to, language=language)
    return report_posts(text, DUE, chat, lambda: next(numbers), START + late)


def test_a_short_report_is_one_silent_post():
    (post,) = posts(report(2))
    assert post.message.plain == "⚪ " + report(2)
    assert post.message.html.startswith(f"⚪ <b>{HEAD}</b>\n\nC0 figure 0 &amp; &lt;more&gt;")
    assert post.message.silent
    assert (post.chat, post.topic, post.number) == ("-1", 7, 5)
    assert not post.close and not post.critical
    assert post.expires == START + LATEST + HOUR


def test_only_what_is_late_says_so():
    (soon,), (late,) = posts(report(1), late=10 * MINUTE), posts(report(1), late=3 * HOUR)
    assert (soon.at, late.at) == (START + 10 * MINUTE, START)
    assert soon.key == late.key


DESTINATIONS: list[Destination] = [
    TelegramChat(-1), ConsoleOutput(), *(MessengerName(service) for service in Service),
]  # fmt: skip


@pytest.mark.parametrize("to", DESTINATIONS, ids=str)
@pytest.mark.parametrize("lines", [7, 120])
def test_a_long_report_is_split_where_it_may_be_and_nothing_is_lost(to: Destination, lines: int):
    text = report(20 if lines == 7 else 2, lines)
    parts = posts(text, to)
    assert [post.number for post in parts] == list(range(5, 5 + len(parts)))
    assert len({post.key for post in parts}) == len(parts) > 1
    bodies: list[str] = []
    for n, post in enumerate(parts, start=1):
        head, _, body = post.message.plain.partition("\n\n")
        assert head == f"⚪ {HEAD} · {n}/{len(parts)}"
        assert visible(post.message.html) <= MOST_CHARS - 300
        assert plain(post.message.html) == post.message.plain
        assert "\n".join(blocks(post.message.html)) == post.message.html
        bodies.append(body)
    if lines == 7:  # whole sections
        assert "\n\n".join([HEAD, *bodies]) == text
    else:
        kept = [line for body in bodies for line in body.split("\n") if line]
        assert kept == [line for line in text.split("\n")[1:] if line]
    if isinstance(to, MessengerName):
        for post in parts:
            assert_whole(to.service, post)


def assert_whole(service: Service, post: Post) -> None:
    """The service is sent every line of it, though signs are escaped."""
    account = Account(url="https://example.org/topic", to="U1")
    sent = (
        apprise_call(post.message).body
        if service is Service.APPRISE
        else request_of(service, post.message, account, post.key).content.decode()
    )
    for line in post.message.plain.split("\n")[2:]:
        assert not line or line.partition(" & ")[0] in sent
    assert sent.count("x" * 60) == post.message.plain.count("x" * 60)


def test_a_digest_after_a_flood_keeps_all_of_it():
    (whole,) = digests(posts(report(1)) + posts(report(1), TelegramChat(-1)), "collapsed")[:1]
    lines = plain(whole.message.html).split("\n")
    assert lines.count("C0 figure 6 & <more>: 市場 " + "x" * 60) == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_operators_read_why_there_is_none(language: str):
    words = LANGUAGES[language]
    reasons = {
        "it took longer than 10 min": False,
        "nothing of that week was recorded in /data/metrics": False,
        "Lowtide was not running at its time, nor for a day after it": True,
    }
    for reason, too_late in reasons.items():
        due = DueReport(week=DUE.week, at=DUE.at, too_late=too_late)
        text = missing_report_message(due, reason, START, words).plain
        assert (reason in text) is (language == "en")
        assert "「" not in text  # of what has no translation
