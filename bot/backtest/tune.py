"""A proposal told, and written into the operator's file with its comments and layout kept.

``lowtide tune``: levels for so many posts a week, from what was recorded.

For each row of a rule in the file the worst value of each day is taken; levels between them are
tried by the very rules, with their durations, cool-down and floors, and the one that gives as many
posts as asked for is proposed. Watch may post three times as often, critical an eighth. Weeks are
those in which the metric was observed, not those of the calendar.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10

import msgspec
import numpy as np
import tomlkit

from bot.backtest.evaluate import Judged
from bot.backtest.report import table
from bot.backtest.series import Chunk, SeriesKey, Times
from bot.backtest.sources import Sources
from bot.config import ConfigError, Settings
from bot.config.chats import WEBHOOK_SECRET
from bot.config.edit import document_at, replace, table_at
from bot.config.explain import rule_path
from bot.config.reload import Rejected, checked
from bot.config.source import own_file
from bot.config.values import NO_LEVEL
from rules.alerts import ALL, Alert, Level, Turn
from rules.metrics import asked_by
from rules.rule import Row, Rule
from streams.durations import DAY
from streams.events import Ms

TRIED = 24
SHARE: Mapping[Level, float] = {Level.WATCH: 3.0, Level.ALERT: 1.0, Level.CRITICAL: 0.125}
"""Posts at a level and above, in posts at alert and above."""

LEAST_DAYS = 7.0
"""Nothing is proposed from less: one loud or calm day would decide it."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold and what it would have posted a week; ``openings`` were held or posted."""

    threshold: float
    posts_a_week: float
    openings_a_week: float
    assets: int


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """For one row of the file."""

    row: str
    days: float
    """On so many days' worth of time the metric was observed."""
    now: Mapping[str, float]
    """The levels that the row has, by key."""
    levels: Mapping[str, float]
    """Those that are proposed, by key; empty: none are."""
    tried: tuple[Tried, ...]
    scaled: tuple[str, ...] = ()
    """Keys of levels beyond anything that was recorded, moved in proportion with the level before
    them."""
    why: str = ""
    """Why there is no proposal; "": there is one."""

    @property
    def sound(self) -> bool:
        """Whether it may be written into a file."""
        return bool(self.levels)


class TunedRow:
    """The assets whose levels one row of the file decides, with what was seen of them.

    ``named``: those that the file names; of the tail none.
    """

    def __init__(self, name: str, rule: Rule, row: Row) -> None:
        self.name = name
        self.row = row
        self._neutral = 100.0 if "_pct_of_" in rule.metric else 0.0
        self.named: set[str] = set()
        self.assets: set[str] = set()
        self.worst: dict[tuple[str, int], float] = {}
        self._observed: dict[tuple[str, int], Ms] = {}
        self._sign = -1 if rule.fires == "below" else 1

    def take(self, place: SeriesKey, chunk: Chunk) -> None:
        """The worst value of each day of an asset."""
        series = chunk.series[place]
        live = ~np.isnan(series.value)
        if not live.any():
            return
        self.assets.add(place.asset)
        self._count(place.asset, series.at[live], series.step[live])
        if series.floor is not None and self.row.floor_musd:
            live &= series.floor >= self.row.floor_musd
        x = (series.low if self._sign < 0 else series.high)[live]
        if not len(x):
            return
        days = series.at[live] // DAY
        starts = np.flatnonzero(np.diff(days, prepend=-1))
        worst = np.maximum.reduceat(self._sign * x, starts)
        for n, day in enumerate(days[starts].tolist()):
            key, value = (place.asset, day), float(worst[n])
            self.worst[key] = max(value, self.worst.get(key, value))

    def _count(self, asset: str, at: Times, step: Times) -> None:
        """What was too small for the floor was observed too: it could not fire, and did not."""
        days = at // DAY
        starts = np.flatnonzero(np.diff(days, prepend=-1))
        speaks = np.minimum(step, np.diff(at, prepend=at[:1] - step[0]))
        for day, ms in zip(
            days[starts].tolist(), np.add.reduceat(speaks, starts).tolist(), strict=True
        ):
            self._observed[asset, day] = self._observed.get((asset, day), 0) + ms

    @property
    def days(self) -> float:
        """For how long any of the assets was observed."""
        longest: dict[int, Ms] = {}
        for (_, day), ms in self._observed.items():
            longest[day] = max(ms, longest.get(day, 0))
        return sum(longest.values()) / DAY

    def candidates(self) -> list[float]:
        """Thresholds to be tried, mild first, rounded as one would write them."""
        values = np.array(sorted(self.worst.values()))
        if not len(values):
            return []
        shares = 1 - np.geomspace(1, 1 / len(values), TRIED)
        picked = (self._sign * np.quantile(values, shares)).tolist()
        rounded = dict.fromkeys([*(round_to(x) for x in picked), *self.row.levels.values()])
        return sorted(filter(self._on_its_side, rounded), key=lambda x: self._sign * x)

    def _on_its_side(self, x: float) -> bool:
        """Whether a level says what the rule is about: a fall is no level above zero, nor is
        negative funding."""
        harsh = [*self.row.levels.values()][-1] - self._neutral
        return not harsh or (x - self._neutral) * harsh >= 0


def tune(
    sources: Sources,
    settings: Settings,
    rule: Rule,
    posts_a_week: float,
    tell: Callable[[float], None] | None = None,
    only: str | None = None,
) -> list[Proposal]:
    """A proposal for each row of the rule, in the order of the file, or for the one named ``only``.

    Raises ValueError if there is no such row.
    """
    groups = rows_of(settings, rule)
    if only is not None and only not in groups:
        raise ValueError(f"{rule.name} has no row {only}: its rows are {', '.join(groups)}")
    place_of = {asset: group for group in groups.values() for asset in group.named}
    tail = groups.get("tail") if rule.others is not None else None
    groups = {name: group for name, group in groups.items() if only in (None, name)}
    for chunk in sources.pieces((lambda share: tell(share / 2)) if tell else None):
        for place in _of([rule.metric], chunk):
            group = place_of.get(place.asset, None if place.asset in rule.not_watched else tail)
            if group is not None and group.name in groups:
                group.take(place, chunk)
    trials = {name: _Trials(rule, group) for name, group in groups.items()}
    for chunk in sources.pieces((lambda share: tell(0.5 + share / 2)) if tell else None):
        part = Chunk(
            chunk.start, chunk.end, {p: chunk.series[p] for p in _of(asked_by(rule), chunk)}
        )
        for trial in trials.values():
            trial.take(part)
    return [trials[name].proposal(group, posts_a_week) for name, group in groups.items()]


class _Trials:
    """One rule with each of the thresholds, for the assets of one row."""

    def __init__(self, rule: Rule, group: TunedRow) -> None:
        self._rule = rule
        self._group = group
        self._judged = [(x, Judged([_with(rule, group, x)])) for x in group.candidates()]
        self._alerts: dict[float, list[Alert]] = {x: [] for x, _ in self._judged}

    def take(self, chunk: Chunk) -> None:
        mine = {p: s for p, s in chunk.series.items() if p.asset in self._group.assets}
        for x, judged in self._judged:
            self._alerts[x] += judged.take(Chunk(chunk.start, chunk.end, mine))

    def proposal(self, group: TunedRow, posts_a_week: float) -> Proposal:
        tried = tuple(_tried(x, alerts, group) for x, alerts in self._alerts.items())
        now = values_of(group.row)
        if why := _too_little(group, tried, posts_a_week):
            days = group.days
            return Proposal(row=group.name, days=days, now=now, levels={}, tried=tried, why=why)
        sign = -1 if self._rule.fires == "below" else 1
        levels: dict[str, float] = {}
        scaled: list[str] = []
        before: Level | None = None
        for level in group.row.levels:
            chosen = _choice(tried, posts_a_week * SHARE[level])
            if before is not None and sign * chosen <= sign * levels[before.name.lower()]:
                mild, harsh = group.row.levels[before], group.row.levels[level]
                chosen = _beyond(levels[before.name.lower()], mild, harsh, sign)
                scaled.append(level.name.lower())
            levels[level.name.lower()] = chosen
            before = level
        levels["clear"] = _clear(group.row, now, levels)
        return Proposal(
            row=group.name,
            days=group.days,
            now=now,
            levels=levels,
            tried=tried,
            scaled=tuple(scaled),
        )


def _too_little(group: TunedRow, tried: Sequence[Tried], posts_a_week: float) -> str:
    """Why nothing can be proposed, "" if something can."""
    if not group.days:
        return "no values of it were recorded"
    observed = f"{group.days:.1f} days were observed"
    if group.days < LEAST_DAYS:
        return f"only {observed}, and {LEAST_DAYS:g} are needed"
    if not tried:
        return f"{observed}, and nothing in them was large enough for its floor"
    if group.days * posts_a_week < 7:
        return (
            f"only {observed}, in which {posts_a_week:g} posts a week are less than one post:"
            f" {ceil(7 / posts_a_week)} days are needed"
        )
    most = max(threshold.posts_a_week for threshold in tried)
    if Level.ALERT in group.row.levels and most < posts_a_week:
        return f"no level gives {posts_a_week:g} posts a week: the most there is is {most:.2g}"
    return ""


def rows_of(settings: Settings, rule: Rule) -> dict[str, TunedRow]:
    """One for each row of the file, with the assets whose levels that row has the last word on."""
    family, _, window = rule.name.partition(":")
    table = ("rules", family, "windows", window) if window else ("rules", family)
    keys = settings.source.keys(*table)
    groups: dict[str, TunedRow] = {}
    for asset, row in rule.rows.items():
        name = "all" if asset == ALL else settings.tiers.layers(keys, asset)[-1]
        groups.setdefault(name, TunedRow(name, rule, row)).named.add(asset)
    if rule.others is not None:
        groups.setdefault("tail", TunedRow("tail", rule, rule.others))
    return groups


def _of(metrics: Sequence[str], chunk: Chunk) -> list[SeriesKey]:
    return [p for p in chunk.series if p.metric in metrics and not p.instrument]


def _with(rule: Rule, group: TunedRow, threshold: float) -> Rule:
    """The rule for the assets of a group, with one level."""
    sign = -1 if rule.fires == "below" else 1
    clear = group.row.clear
    if sign * clear >= sign * threshold:
        clear = threshold - sign * max(abs(threshold) * 0.3, 1e-4)
    level = Level.ALERT

    def row(asset: str) -> Row:
        own = rule.row_of(asset) or group.row
        return Row(levels={level: threshold}, clear=clear, floor_musd=own.floor_musd)

    return msgspec.structs.replace(
        rule,
        rows={asset: row(asset) for asset in group.assets},
        others=None,
        not_watched=frozenset(),
        hold={level: rule.hold.get(level, 0)},
    )


def _tried(threshold: float, alerts: Sequence[Alert], group: TunedRow) -> Tried:
    opened = [alert for alert in alerts if alert.turn is Turn.OPEN]
    posted = [alert for alert in opened if alert.post]
    return Tried(
        threshold=threshold,
        posts_a_week=len(posted) * 7 / group.days,
        openings_a_week=len(opened) * 7 / group.days,
        assets=len({alert.asset for alert in posted}),
    )


def _choice(tried: Sequence[Tried], wanted: float) -> float:
    """The mildest threshold that posts no more than wanted; the harshest if all post more.

    None that is milder than all with the most posts: there episodes do not end any more.
    """
    quiet = tried[-1]
    # posts may rise again with a harsher threshold: stay on its side
    for threshold in reversed(tried):
        if threshold.posts_a_week > wanted:
            break
        if threshold.posts_a_week >= quiet.posts_a_week:
            quiet = threshold
    return quiet.threshold


def _beyond(level: float, mild: float, harsh: float, sign: int) -> float:
    """A level harsher than ``level`` as ``harsh`` is harsher than ``mild``; harsher in any case."""
    scaled = level * harsh / mild if mild * harsh > 0 else level + harsh - mild
    least = level + sign * 0.1 * abs(level)
    chosen = round_to(scaled if sign * scaled > sign * level else least)
    return chosen if sign * chosen > sign * level else least


def _clear(row: Row, now: Mapping[str, float], levels: Mapping[str, float]) -> float:
    """As far from the first level as before, in proportion."""
    first = next(iter(row.levels)).name.lower()
    if now[first] and now["clear"] / now[first] > 0:
        return round_to(now["clear"] / now[first] * levels[first])
    return now["clear"] + levels[first] - now[first]


def round_to(x: float) -> float:
    """Two digits, as people write thresholds."""
    return round(x, 1 - floor(log10(abs(x)))) if x else 0.0


_SHOWN = 9
"""Rows of the trade-off around the proposal."""


def in_words(rule: Rule, proposals: Sequence[Proposal], posts_a_week: float) -> str:
    """The proposals, each with what other thresholds would have posted."""
    blocks = [f"{rule.name}: {rule.metric} {rule.fires} the level, {posts_a_week:g} posts a week"]
    for proposal in proposals:
        head = f"{proposal.row}: {_row(proposal.now)}"
        rows = [
            (f"{t.threshold:g}", f"{t.posts_a_week:.2f}", f"{t.openings_a_week:.2f}", str(t.assets))
            for t in _around(proposal)
        ]
        head_cells = ("level", "posts a week", "with those held", "assets")
        seen = f"  from {proposal.days:.1f} observed days; at alert and above:"
        lines = [head]
        if proposal.levels:
            lines += [f"  proposed {_row(proposal.levels)}", *_remarks(proposal)]
        else:
            lines.append(f"  stays: {proposal.why}")
        if rows:
            lines += [seen, *table(head_cells, rows)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def write(settings: Settings, rule: Rule, proposals: Sequence[Proposal]) -> list[str]:
    """Writes the proposals into the operator's own file; what changed, in words.

    Afterwards each row is in force as proposed, and rows without a proposal as they were. A row of
    one asset holds what differs from the row of its tier. Where the latter changes, the former is
    written out, since it gets no more from it, nor from a shipped row of the asset, which an own
    row of the tier replaces.

    Raises ValueError, and writes nothing, if the file would not say what was proposed.
    """
    path = own_file(settings.path)
    document = document_at(path)
    wanted = _wanted(settings, rule, proposals)
    for name, values in _to_write(settings, rule, wanted).items():
        row = table_at(document, (*rule_path(rule), name), inline=True)
        for key, value in values.items():
            row[key] = int(value) if isinstance(value, float) and value.is_integer() else value
    changed = [
        f"{rule.name}, {name}: {key} = {was:g} is now {wanted[name][key]:g}"
        for name, row in rows_of(settings, rule).items()
        for key, was in values_of(row.row).items()
        if wanted[name][key] != was
    ]
    if not changed:
        return []
    secret = settings.webhook_secret
    env: dict[str, str] = {WEBHOOK_SECRET: str(secret)} if secret else {}
    env |= settings.messenger_secrets

    def other_levels(after: Settings) -> str:
        wrong = _not_as_wanted(after, rule, wanted)
        return (
            f"{path.name} with this proposal in it would give {', '.join(wrong)} other levels"
            " than were proposed, and nothing was written"
            if wrong
            else ""
        )

    try:
        replace(path, tomlkit.dumps(document), env, other_levels)
    except ConfigError as error:
        raise ValueError(
            f"the proposal does not fit the rest of {path.name}, and nothing was written: {error}"
        ) from error
    changed.append(f"written to {path.name}")
    try:
        checked(path, env)
    except Rejected as error:
        changed.append(f"It is not used as it is now:\n{error}")
    return changed


def values_of(row: Row) -> dict[str, float]:
    """The levels of a row and its ``clear``, by key of the file."""
    return {**{level.name.lower(): x for level, x in row.levels.items()}, "clear": row.clear}


def _wanted(
    settings: Settings, rule: Rule, proposals: Sequence[Proposal]
) -> dict[str, Mapping[str, float]]:
    """What is to be in force for the assets of each row."""
    sound = {proposal.row: proposal.levels for proposal in proposals if proposal.sound}
    return {
        name: {**values_of(row.row), **sound.get(name, {})}
        for name, row in rows_of(settings, rule).items()
    }


def _to_write(
    settings: Settings, rule: Rule, wanted: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float | str]]:
    """The keys of each row that have to be written for ``wanted`` to be in force."""
    table, source = rule_path(rule), settings.source
    written: dict[str, dict[str, float | str]] = {}
    assets = {*settings.tiers.listed, *rule.rows} - {ALL}
    for name, values in wanted.items():  # the rows of tiers first: those of assets lie on them
        present = source.values(*table, name)
        if name not in assets and (keys := _differing(values, present)):
            written[name] = keys
    for name, values in wanted.items():
        if name not in assets:
            continue
        present = source.values(*table, name)
        tier = settings.tiers.layers(source.keys(*table), name)[0]
        below: Mapping[str, float] = {}
        if tier != name:
            below = wanted.get(tier) or _numbers(source.values(*table, tier))
        whole: dict[str, float | str] = {
            key: x for key, x in values.items() if key in present or below.get(key) != x
        }
        whole |= dict.fromkeys(below.keys() - values.keys(), NO_LEVEL)
        if set(settings.tiers.names(name)[1:]) & written.keys():
            written[name] = whole
        elif keys := _differing(whole, present):
            written[name] = keys
    return written


def _differing(
    values: Mapping[str, float | str], present: Mapping[str, object]
) -> dict[str, float | str]:
    return {key: x for key, x in values.items() if present.get(key) != x}


def _numbers(row: Mapping[str, object]) -> dict[str, float]:
    return {key: float(x) for key, x in row.items() if isinstance(x, int | float)}


def _not_as_wanted(
    settings: Settings, rule: Rule, wanted: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """The rows for which something else is in force."""
    after = next((current for current in settings.rules if current.name == rule.name), None)
    rows = {} if after is None else rows_of(settings, after)
    return [
        name for name in wanted if name not in rows or values_of(rows[name].row) != wanted[name]
    ]


def _remarks(proposal: Proposal) -> list[str]:
    remarks: list[str] = []
    if proposal.scaled:
        levels = " and ".join(proposal.scaled)
        remarks.append(f"  nothing recorded went as far as {levels}: moved in proportion")
    return remarks


def _row(levels: Mapping[str, float]) -> str:
    return "{ " + ", ".join(f"{key} = {x:g}" for key, x in levels.items()) + " }"


def _around(proposal: Proposal) -> Sequence[Tried]:
    levels = {**proposal.now, **proposal.levels}
    chosen = levels.get("alert", next(iter(levels.values())))
    place = next((n for n, t in enumerate(proposal.tried) if t.threshold == chosen), 0)
    first = max(0, min(place - _SHOWN // 2, len(proposal.tried) - _SHOWN))
    return proposal.tried[first : first + _SHOWN]
