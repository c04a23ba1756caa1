"""When a note before an announcement is due, and that it is told once."""

from random import Random

import msgspec

from bot.plan.releases import SAME, ReleaseNotes, due_notes, with_noted
from rules.alerts import NearRelease, ReleaseKind
from streams.durations import DAY, HOUR, MINUTE

AT = 1_791_020_520_000
CPI = NearRelease(kind=ReleaseKind.CPI, at=AT)
NFP = NearRelease(kind=ReleaseKind.NFP, at=AT + 30 * MINUTE)


def test_it_is_due_from_the_lead_until_it_is_there():
    kept = ReleaseNotes()
    for before, expected in ((HOUR + 1, []), (HOUR, [CPI]), (1, [CPI]), (0, []), (-MINUTE, [])):
        assert due_notes([CPI], HOUR, kept, "chat", AT - before) == expected
    assert due_notes([CPI, NFP], HOUR, kept, "chat", AT - HOUR // 2) == [CPI, NFP]


def test_each_chat_and_each_kind_for_itself():
    kept = with_noted(ReleaseNotes(), "chat", [CPI])
    assert due_notes([CPI, NFP], HOUR, kept, "chat", AT - MINUTE) == [NFP]
    assert due_notes([CPI], HOUR, kept, "other", AT - MINUTE) == [CPI]


def test_one_that_was_moved_is_the_same_and_the_next_one_is_not():
    kept = with_noted(ReleaseNotes(), "chat", [CPI])
    for moved in (-SAME, -HOUR, HOUR, DAY, SAME):
        release = msgspec.structs.replace(CPI, at=AT + moved)
        assert due_notes([release], HOUR, kept, "chat", AT + moved - MINUTE) == []
    later = msgspec.structs.replace(CPI, at=AT + 28 * DAY)
    assert due_notes([later], HOUR, kept, "chat", AT + 28 * DAY - MINUTE) == [later]


def test_whatever_the_calendar_and_the_clock_do_it_is_told_once():
    """Revised by hours, withdrawn and back, the clock set back, restarts between all of it."""
    for seed in range(50):
        dice, kept, notes = Random(seed), ReleaseNotes(), 0
        now = AT - 3 * HOUR
        while now < AT + 6 * HOUR:
            now += dice.randrange(1, 20) * MINUTE
            if dice.random() < 0.1:
                now -= dice.randrange(2 * HOUR) if now < AT + 3 * HOUR else 0
            at = AT + dice.choice((0, 0, 0, HOUR, -HOUR // 2))
            releases = [] if dice.random() < 0.3 else [NearRelease(kind=CPI.kind, at=at)]
            due = due_notes(releases, HOUR, kept, "chat", now)
            assert all(release.at > now for release in due)
            notes += len(due)
            kept = with_noted(kept, "chat", due)
            kept = msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=ReleaseNotes)
        assert notes <= 1


def test_of_many_chats_the_oldest_are_forgotten():
    kept = ReleaseNotes()
    for n in range(1_500):
        kept = with_noted(kept, str(n), [CPI])
    assert len(kept.posted) == 1_000
    assert due_notes([CPI], HOUR, kept, "1499", AT - 1) == []
