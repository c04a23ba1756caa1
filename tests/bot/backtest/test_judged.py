"""Looking only where something can happen says what looking at every row says."""

import random
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from bot.backtest import evaluate
from bot.backtest.evaluate import Judged, adapted, plain
from bot.backtest.series import Chunk, Floats, RecordedSeries, SeriesKey, cut, even
from rules.alerts import CAUSES, Alert, AlertOrNotice, CascadeFacts, Cause, Level, Turn
from rules.composite import Composite
from rules.episode import Episode, step
from rules.judge import Judge
from rules.metric import Reading
from rules.rule import Row, Rule, When
from streams.durations import HOUR, MINUTE
from streams.events import Ms

START: Ms = 1_790_985_600_000
PLACE = SeriesKey("price_1h_pct", "BTC")

BELOW = Rule(
    name="drop", metric="price_1h_pct", fires="below", clear_for=300_000, cooldown=1_200_000,
    hold={Level.ALERT: 120_000, Level.WATCH: 60_000},
    rows={"BTC": Row(
        levels={Level.WATCH: -1, Level.ALERT: -2, Level.CRITICAL: -3}, clear=-0.5, floor_musd=10,
    )},
)  # fmt: skip
ABOVE = Rule(
    name="burst", metric="price_1h_pct", fires="above", clear_for=600_000, cooldown=0,
    rows={"BTC": Row(levels={Level.ALERT: 2}, clear=-1)},
)  # fmt: skip


def walk(seed: int, rows: int = 2_000) -> RecordedSeries:
    """A value that wanders around its levels, with holes, rows apart and floors too low."""
    dice = random.Random(seed)
    at, values = START, 0.0
    row_values: list[tuple[Ms, float, float, float, float]] = []
    for _ in range(rows):
        at += MINUTE * (dice.randrange(2, 9) if dice.random() < 0.01 else 1)
        values = values * 0.97 + dice.gauss(0, 0.5)
        if dice.random() < 0.02:
            values = float(round(values))
        low, high = values - dice.random() * 0.4, values + dice.random() * 0.4
        known = dice.random() > 0.03 or seed % 2 == 0
        row_values.append(
            (at, values if known else np.nan, low, high, dice.choice((5, 50, 50, 50)))
        )
    columns = np.array(row_values)
    floats = columns.astype(np.float32)
    return RecordedSeries(
        columns[:, 0].astype(np.int64), floats[:, 1], floats[:, 2], floats[:, 3],
        even(columns[:, 0].astype(np.int64), MINUTE),
        np.full(rows, 50, np.float32) if seed % 3 else floats[:, 4],
    )  # fmt: skip


def naive(rule: Rule, series: RecordedSeries) -> Iterator[tuple[Ms, str, int, float, bool]]:
    """Each row: the quiet extreme, the worst one, the value."""
    row, episode, rule = rule.rows["BTC"], Episode(), adapted(rule, MINUTE)
    assert series.floor is not None
    for n in range(len(series.at)):
        quiet, worst = series.high[n], series.low[n]
        if rule.fires == "above":
            quiet, worst = worst, quiet
        for x in (quiet, worst, series.value[n]):
            if x == x:
                reading = Reading(value=plain(float(x)), floor_musd=float(series.floor[n]))
                for transition in step(rule, row, episode, int(series.at[n]), reading):
                    yield (
                        int(series.at[n]),
                        transition.turn,
                        transition.level,
                        transition.value,
                        transition.post,
                    )


def rows_of(alerts: list[Alert]) -> list[tuple[Ms, str, int, float, bool]]:
    return [(a.seen, a.turn, a.level, a.value, a.post) for a in alerts]


@pytest.mark.parametrize("rule", [BELOW, ABOVE], ids=["below", "above"])
@pytest.mark.parametrize("seed", range(12))
def test_it_is_as_if_every_row_were_looked_at(rule: Rule, seed: int):
    series = walk(seed)
    judged = Judged([rule])
    end = int(series.at[-1]) + 1
    alert_rows = rows_of([*judged.take(Chunk(START, end, {PLACE: series}))])
    expected = [*naive(rule, series)]
    # a value that is not known has no extremes either, for who looks at live rows only
    assert len(expected) > 20
    assert alert_rows == expected


@pytest.mark.parametrize("minutes", [1, 17, 600])
def test_the_size_of_pieces_changes_nothing(minutes: int):
    series = walk(5)
    end = int(series.at[-1]) + 1
    whole = rows_of([*Judged([BELOW]).take(Chunk(START, end, {PLACE: series}))])
    judged, again = Judged([BELOW]), list[Alert]()
    for start in range(START, end, minutes * MINUTE):
        part = cut({PLACE: series}, start, start + minutes * MINUTE)
        again += judged.take(part)
    assert rows_of(again) == whole


def test_coarse_values_stand_for_their_step():
    rule = adapted(BELOW, 4 * 3_600_000)
    assert (rule.hold, rule.clear_for, rule.max_gap) == ({}, 0, 6 * 3_600_000)
    assert adapted(BELOW, MINUTE) is BELOW


# ── a second opinion ──

ASKING = msgspec.structs.replace(
    BELOW, metric="oi_net_1h_pct", when=(When("price_1h_pct", "<=", -1),)
)
"""Asks the price; its own values are those of PLACE in the tests before."""


def levels(price: list[float], fall: float = -2.5, seconds: int = 60) -> list[tuple[int, str, int]]:
    """The turns by row, of a value that has fallen and stays so."""
    at = np.arange(len(price), dtype=np.int64) * seconds * 1_000 + START
    flat = np.full(len(price), fall, np.float32)
    asked = np.array(price, np.float32)
    step = even(at, seconds * 1_000)
    many = np.full(len(price), 50, np.float32)
    chunk = Chunk(START, int(at[-1]) + 1, {
        SeriesKey("oi_net_1h_pct", "BTC"): RecordedSeries(at, flat, flat, flat, step, many),
        SeriesKey("price_1h_pct", "BTC"): RecordedSeries(at, asked, asked, asked, step),
    })  # fmt: skip
    alerts = Judged([ASKING]).take(chunk)
    return [((a.seen - START) // (seconds * 1_000), a.turn, a.level) for a in alerts]


def test_recorded_values_are_asked_for_a_second_opinion_as_live_ones_are():
    assert levels([-0.5] * 40) == [(1, "open", Level.WATCH)]
    assert levels([-2.0] * 40) == [(1, "open", Level.WATCH), (2, "up", Level.ALERT)]
    late = [-0.5] * 20 + [-1.0] + [-0.5] * 19
    assert levels(late) == [(1, "open", Level.WATCH), (20, "up", Level.ALERT)]
    assert levels([np.nan] * 40) == [(1, "open", Level.WATCH)]
    assert levels([3.0] * 40, fall=-5)[-1] == (0, "open", Level.CRITICAL)


def test_a_coarse_history_is_asked_too():
    hours = [-0.5] * 5 + [-1.5] * 3
    assert levels(hours, seconds=3_600)[0] == (0, "open", Level.WATCH)
    assert levels(hours, seconds=3_600)[-1] == (5, "up", Level.ALERT)


def test_a_recorded_cause_counts_as_a_live_one_does():
    rule = msgspec.structs.replace(
        BELOW, metric="oi_net_1h_pct", cause=(Cause.SHORT_COVERING,), hold={}
    )
    words = [Cause.UNCLEAR] * 5 + [Cause.SHORT_COVERING] * 5 + [Cause.LONG_UNWINDING] * 5
    at = np.arange(len(words), dtype=np.int64) * MINUTE + START
    flat = np.full(len(at), -2.5, np.float32)
    code = np.array([CAUSES.index(word) for word in words], np.float32)
    step, many = even(at, MINUTE), np.full(len(at), 50, np.float32)
    chunk = Chunk(START, int(at[-1]) + 1, {
        SeriesKey("oi_net_1h_pct", "BTC"): RecordedSeries(at, flat, flat, flat, step, many),
        SeriesKey("cause_1h", "BTC"): RecordedSeries(at, code, code, code, step),
    })  # fmt: skip
    alerts = list(Judged([rule]).take(chunk))
    assert [((a.seen - START) // MINUTE, a.level, a.cause) for a in alerts] == [
        (5, Level.ALERT, Cause.SHORT_COVERING)
    ]


# ── rows that are not looked at ──

METRICS = (
    "oi_net_1h_pct", "price_1h_pct", "funding_8h_pct", "depth_25bp_pct_of_recent", "liq_10m_musd",
)  # fmt: skip
CASCADE = Composite(
    name="cascade", level=Level.CRITICAL, within=HOUR, at_least=2, hides=METRICS,
    all_of=tuple((metric, Level.ALERT) for metric in METRICS),
)  # fmt: skip


def wanders(dice: random.Random, rows: int, steps: tuple[int, ...]) -> RecordedSeries:
    """A value around the levels of ``any_rule``: it stands still at times, is a lower bound, is of
    a small market, comes less often or not at all; settlements are eight hours apart."""
    at, value, still, every = START, 0.0, False, steps[0]
    lines: list[tuple[float, ...]] = []
    for _ in range(rows):
        every = dice.choice(steps) if dice.random() < 0.003 else every
        at += MINUTE * every * (dice.randrange(2, 9) if dice.random() < 0.01 else 1)
        if not still or dice.random() < 0.03:
            value = value * 0.97 + dice.gauss(0, 0.4)
            still = dice.random() < 0.05
        x = float(round(value)) if dice.random() < 0.05 else value
        low, high = (x, x) if still else (x - dice.random() * 0.3, x + dice.random() * 0.3)
        kind = dice.random()
        if kind < 0.02:
            x, low, high = (np.nan, low, high) if kind < 0.01 else (np.nan,) * 3
        bound = dice.choice((np.nan,) * 8 + (1.0, 2.0))
        lines.append((at, x, low, high, every * MINUTE, dice.choice((5, 50, 50, 50)), bound))
    columns = np.array(lines)
    floats, when = columns.astype(np.float32), columns[:, 0].astype(np.int64)
    floor: Floats | None = floats[:, 5] if dice.random() < 0.7 else None
    bounds: Floats | None = floats[:, 6] if dice.random() < 0.3 else None
    settled = ((when % (8 * HOUR)) / MINUTE).astype(np.float32)
    return RecordedSeries(
        when, floats[:, 1], floats[:, 2], floats[:, 3], columns[:, 4].astype(np.int64), floor,
        bounds, settled, np.full(rows, 480, np.float32),
    )  # fmt: skip


def any_rule(dice: random.Random, metric: str, number: int) -> Rule:
    sign = dice.choice((-1, 1))
    levels = {
        level: sign * x
        for level, x in zip(Level, (0.7, 1.3, 2.0), strict=True)
        if level is Level.ALERT or dice.random() < 0.7
    }
    settlements = dice.choice((1, 2)) if metric.startswith("funding") else 0
    asks = dice.random() < 0.3
    return Rule(
        name=f"{metric}:{number}", metric=metric, family=metric,
        fires="below" if sign < 0 else "above", settlements=settlements,
        hold={} if settlements else {level: dice.choice((0, 1, 5)) * MINUTE for level in levels},
        clear_for=dice.choice((0, 5, 30)) * MINUTE, cooldown=dice.choice((0, 20)) * MINUTE,
        repost_if=dice.choice((1.1, 1.5, 2.0)), max_gap=dice.choice((1, 3)) * MINUTE,
        when=(When("price_15m_pct", dice.choice(("<=", ">=")), 0.2),) if asks else (),
        cause=(Cause.SHORT_COVERING,) if asks and metric.startswith("oi") else (),
        rows={"BTC": Row(
            levels=levels, clear=sign * dice.choice((0.1, 0.5, -0.3)),
            floor_musd=dice.choice((0, 10)),
        )},
    )  # fmt: skip


def every_row(track: evaluate._Track, row: int) -> int | None:  # pyright: ignore[reportPrivateUsage]
    return row if row < len(track.worst) else None


@pytest.mark.parametrize("seed", range(10))
def test_all_that_an_alert_says_is_as_if_every_row_were_looked_at(
    seed: int, monkeypatch: pytest.MonkeyPatch
):
    """Also where rules ask other metrics, wait for settlements, and a composite hides them."""
    dice = random.Random(seed)
    rules = [any_rule(dice, metric, number) for metric in METRICS for number in range(2)]
    steps = dice.choice(((1,), (1,), (1, 5), (5, 60)))
    series = {
        SeriesKey(metric, "BTC"): wanders(dice, 700, steps)
        for metric in (*METRICS, "price_15m_pct", "price")
    }
    causes = wanders(dice, 700, steps)
    codes = np.abs(np.round(causes.value * 2)) % len(CAUSES)
    series[SeriesKey("cause_1h", "BTC")] = RecordedSeries(
        causes.at, codes, codes, codes, causes.step
    )
    end = max(int(whole.at[-1]) for whole in series.values()) + 1
    size = dice.choice((end - START, 4 * HOUR, 24 * HOUR))

    def alerts() -> list[Alert]:
        judged, heard = Judged(rules, [CASCADE]), list[Alert]()
        for start in range(START, end, size):
            heard += judged.take(cut(series, start, min(end, start + size)))
        # what a row that was not looked at would have been compared with is no record
        return [msgspec.structs.replace(alert, records=()) for alert in heard]

    sparse = alerts()
    monkeypatch.setattr(evaluate._Track, "next", every_row)  # pyright: ignore[reportPrivateUsage]
    assert sparse == alerts() and len(sparse) > 30


def falls_at(breach: Ms, *, since: Ms, known: Ms, asset: str) -> dict[SeriesKey, RecordedSeries]:
    """Two metrics of an asset from ``since`` on, known from ``known`` on, that go beyond their
    levels at ``breach`` for an hour."""
    at = np.arange(since, breach + 2 * HOUR, MINUTE, dtype=np.int64)
    beyond = (at >= breach) & (at < breach + HOUR)
    value = np.where(beyond, 2.0, 0.0).astype(np.float32)
    value[at < known] = np.nan
    series = RecordedSeries(at, value, value, value, even(at, MINUTE))
    return {SeriesKey(metric, asset): series for metric in METRICS[:2]}


@pytest.mark.parametrize("piece", [HOUR, 24 * HOUR, 30 * 24 * HOUR])
def test_the_record_of_a_composite_begins_with_the_data(piece: Ms):
    """Nobody watched before, and an asset that comes later has a record of its own."""
    row = Row(levels={Level.ALERT: 1}, clear=0.5)
    rules = [
        Rule(
            name=metric, metric=metric, family=metric, fires="above",
            rows={"BTC": row, "ETH": row},
        )
        for metric in METRICS[:2]
    ]  # fmt: skip
    breach, known, listed = START + 20 * HOUR, START + 10 * MINUTE, START + 7 * HOUR
    series = falls_at(breach, since=START, known=known, asset="BTC")
    series |= falls_at(breach, since=listed, known=listed, asset="ETH")
    judged, alerts = Judged(rules, [CASCADE]), list[Alert]()
    for start in range(START, breach + 2 * HOUR, piece):
        alerts += judged.take(cut(series, start, start + piece))
    facts = {a.asset: a.facts for a in alerts if a.rule == "cascade" and a.turn is Turn.OPEN}
    record_from = {
        asset: of.record_from for asset, of in facts.items() if isinstance(of, CascadeFacts)
    }
    assert record_from == {"BTC": known, "ETH": listed}


HIGH = Rule(
    name="funding_high", metric="funding_8h_pct", fires="above", settlements=1,
    rows={"BTC": Row(levels={Level.ALERT: 0.2}, clear=0.08)},
)  # fmt: skip


@pytest.mark.parametrize("values", ["still", "at its level", "between"])
def test_an_episode_that_goes_on_for_days_costs_few_looks(
    values: str, monkeypatch: pytest.MonkeyPatch
):
    looks = list[int]()
    look = evaluate._Track.look  # pyright: ignore[reportPrivateUsage]

    def counted(track: evaluate._Track, judge: Judge, row: int) -> Iterator[AlertOrNotice]:  # pyright: ignore[reportPrivateUsage]
        looks.append(row)
        return look(track, judge, row)

    monkeypatch.setattr(evaluate._Track, "look", counted)  # pyright: ignore[reportPrivateUsage]
    rows, dice = 10 * 1440, np.random.default_rng(5)
    at = START + np.arange(rows, dtype=np.int64) * MINUTE
    spread = {"still": 0.0, "at its level": 0.01, "between": 0.002}[values]
    middle = {"still": 0.24, "at its level": 0.2, "between": 0.15}[values]
    value = (middle + dice.normal(0, spread, rows)).astype(np.float32)
    value[0] = 0.24
    wide = np.float32(spread)
    series = RecordedSeries(at, value, value - wide, value + wide, even(at, MINUTE))
    alerts = Judged([HIGH]).take(
        Chunk(START, START + rows * MINUTE, {SeriesKey("funding_8h_pct", "BTC"): series})
    )
    assert [alert.turn for alert in alerts] == ["open"]
    assert len(looks) < 40


def test_a_settlement_that_a_lower_bound_hides_counts_at_the_row_after_it():
    """Below a threshold a lower bound decides nothing, whatever is new in its row."""
    rule = msgspec.structs.replace(
        HIGH, fires="below", settlements=2, rows={"BTC": Row(levels={Level.ALERT: -0.1}, clear=0)}
    )
    at = START + np.arange(30, dtype=np.int64) * MINUTE
    flat = np.full(30, -0.2, np.float32)
    bound = np.where(np.arange(30) == 10, 1, np.nan).astype(np.float32)
    settled = np.where(np.arange(30) < 10, np.arange(30) + 470, np.arange(30) - 10)
    series = RecordedSeries(
        at, flat, flat, flat, even(at, MINUTE), None, bound, settled.astype(np.float32),
        np.full(30, 480, np.float32),
    )  # fmt: skip
    place = SeriesKey("funding_8h_pct", "BTC")
    alerts = Judged([rule]).take(Chunk(START, int(at[-1]) + 1, {place: series}))
    assert [(alert.seen - START) // MINUTE for alert in alerts] == [11]
