"""Which announcements a calendar has, and which alerts are within an hour of one."""

from pytest import mark

from rules.alerts import Alert, NearRelease, ReleaseKind
from rules.context import SourceFacts
from rules.engine import Engine
from rules.releases import NEAR, near, release_kind, releases_of
from streams.durations import DAY, HOUR, MINUTE
from streams.events import ContextFacts, Release, Tick
from tests.rules.facts import START, price
from tests.rules.scenes import VENUES, quick_rule, run

NFP, CPI, FOMC = ReleaseKind.NFP, ReleaseKind.CPI, ReleaseKind.FOMC


def usd(title: str, at: int = START) -> Release:
    return Release(at=at, currency="USD", title=title)


@mark.parametrize(
    ("title", "kind"),
    [
        ("Non-Farm Employment Change", NFP),
        ("ADP Non-Farm Employment Change", None),
        ("Prelim Nonfarm Productivity q/q", None),
        ("CPI m/m", CPI),
        ("CPI y/y", CPI),
        ("Core CPI m/m", CPI),
        ("Core PCE Price Index m/m", None),
        ("Federal Funds Rate", FOMC),
        ("FOMC Statement", FOMC),
        ("FOMC Press Conference", FOMC),
        ("FOMC Meeting Minutes", None),
        ("Unemployment Rate", None),
    ],
)
def test_titles(title: str, kind: ReleaseKind | None):
    assert release_kind(usd(title)) is kind
    assert release_kind(Release(at=START, currency="CAD", title=title)) is None


def test_what_is_told_at_several_times_is_one_at_the_first():
    facts = (
        usd("FOMC Press Conference", START + 30 * MINUTE), usd("Federal Funds Rate"),
        usd("FOMC Statement"), usd("CPI y/y", START + DAY), usd("CPI m/m", START + DAY),
        usd("Unemployment Rate"),
    )  # fmt: skip
    assert releases_of([SourceFacts(source="calendar", seen=START, facts=facts)]) == (
        NearRelease(kind=FOMC, at=START),
        NearRelease(kind=CPI, at=START + DAY),
    )


def test_near_is_an_hour_before_and_after():
    releases = (NearRelease(kind=CPI, at=START), NearRelease(kind=FOMC, at=START + 90 * MINUTE))
    assert near(releases, START - NEAR - 1) is None
    for now, kind in ((-NEAR, CPI), (44 * MINUTE, CPI), (46 * MINUTE, FOMC), (149 * MINUTE, FOMC)):
        release = near(releases, START + now)
        assert release is not None and release.kind is kind
    assert near(releases, START + 90 * MINUTE + NEAR + 1) is None


def fallen(after: int, *releases: Release, good_for: int = DAY) -> tuple[Engine, Alert]:
    """An engine that was told of ``releases``, and the alert on a fall so long after."""
    engine = Engine([quick_rule("price_2m_pct", "below", -1, alert=-5)], VENUES)
    calendar = ContextFacts(source="calendar", seen=START, good_for=good_for, facts=releases)
    run(engine, [calendar])
    alerts = []
    for n in range(20):
        now = START + after + n * 20_000
        level = 100.0 if n < 15 else 90.0
        alerts += run(engine, [price("binance", now, level), Tick(seen=now)])
    (opening, *_) = [alert for alert in alerts if isinstance(alert, Alert)]
    return engine, opening


def test_an_alert_says_of_which_it_is_and_so_do_open_episodes():
    release = NearRelease(kind=NFP, at=START + 2 * HOUR)
    for after, expected in ((90 * MINUTE, release), (170 * MINUTE, release), (0, None)):
        engine, opening = fallen(after, usd("Non-Farm Employment Change", START + 2 * HOUR))
        assert opening.release == expected
        episodes = engine.open_episodes()
        assert {e.release for e in (*episodes.episodes, *episodes.stale)} == {expected}
        assert episodes.releases == (release,)
        standing = engine.standing()
        assert {e.release for e in (*standing.episodes, *standing.stale)} == {expected}
        again = Engine([quick_rule("price_2m_pct", "below", -1, alert=-5)], VENUES)
        again.load(engine.dump())
        assert again.open_episodes() == episodes


def test_a_calendar_that_is_old_or_was_withdrawn_says_nothing():
    _, opening = fallen(
        90 * MINUTE, usd("Non-Farm Employment Change", START + 2 * HOUR), good_for=HOUR
    )
    assert opening.release is None
    _, opening = fallen(90 * MINUTE)
    assert opening.release is None
