"""/why: how an episode came about, or why there is none. Pure.

What a reader can type is what a post shows: the rule and the asset, or the asset alone. It is about
the newest episode; the id of an alert, as logs and webhooks have it, names any other.
"""

from collections import Counter
from collections.abc import Sequence, Set

import msgspec

from bot.commands.context import Answer, Context, only
from bot.commands.market import RATES, first_line, not_watched, stale
from bot.commands.parsing import Command, asset_of
from bot.config.explain import (
    held_in_words,
    origin_of_cause,
    origin_of_hold,
    origin_of_level,
    origin_of_when,
)
from bot.config.recipients import chats
from bot.config.values import LEVELS
from bot.delivery.fate import AlertFate
from bot.meant import nearest
from bot.messages.facts import fact_lines
from bot.messages.headline import amount, cause_in_words, opinion
from bot.messages.render import MARKS, OVER
from bot.messages.voice import Html, Voice, time, title, topic
from bot.plan.silences import covered, silenced
from rules.alerts import Alert, CascadeFacts, EpisodeKey, Level, Opinion, Turn
from rules.metrics import metric
from rules.rule import Row, Rule, When
from rules.snapshot import Value
from streams.durations import DAY
from streams.events import Ms

TURNS = 12
KEPT: Ms = 14 * DAY
"""How long alerts are kept, and so how far back an episode is found."""


class EpisodeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which episode is asked for."""

    rule: str
    """A rule or a family; "": any."""
    asset: str
    """An asset or a contract."""
    opened_at: Ms | None = None
    """None: the newest one."""

    def matches(self, alert: Alert) -> bool:
        """Whether ``alert`` is a turn of it."""
        rules = ("", alert.rule, alert.family or alert.rule)
        same = self.rule in rules and self.asset in (alert.asset, alert.instrument.upper())
        return same and self.opened_at in (None, alert.opened_at)

    def complete(self, turns: Sequence[Alert]) -> bool:
        """Whether ``turns``, the newest first, hold the newest episode as a whole."""
        opened = [alert.episode for alert in turns if alert.turn is Turn.OPEN]
        return bool(turns) and turns[0].episode in opened


def episode_query(command: Command) -> EpisodeQuery:
    """What ``/why`` asks for: ``BTC``, ``oi_drop BTC``, or an id."""
    last = command.words[-1]
    if (key := EpisodeKey.parse(last)) is not None:
        return EpisodeQuery(rule=key.rule, asset=key.subject.upper(), opened_at=key.opened_at)
    rule = command.words[0].lower() if len(command.words) == 2 else ""
    return EpisodeQuery(rule=rule, asset=asset_of(last))


def why(command: Command, context: Context) -> Answer:
    """The newest episode that fits, turn by turn; if there is none, how far it is from one."""
    wanted = episode_query(command)
    families = {rule.family for rule in context.settings.rules}
    names = {*families, *(rule.name for rule in context.settings.rules)}
    names |= {composite.name for composite in context.settings.composites}
    alerts = [alert for alert in context.alerts if wanted.matches(alert)]
    if not alerts and wanted.opened_at is not None:  # an id says which: no other will do
        return only(context.say("ask.why.no_id", days=str(KEPT // DAY)))
    if wanted.rule and wanted.rule not in names:
        return only(_no_rule(wanted.rule, sorted(names), context))
    if not alerts and not wanted.rule and _is_rule(wanted.asset, names, context):
        return only(context.say("ask.why.is_rule", rule=wanted.asset.lower()))
    if not alerts:
        return _no_episode(wanted, context)
    turns = [alert for alert in alerts if alerts[0].episode == alert.episode]
    return _episode(turns[::-1], context)


def _is_rule(word: str, names: Set[str], context: Context) -> bool:
    """Whether the only word after ``/why`` is a rule, and nothing that is watched."""
    return word.lower() in names and not any(v.asset == word for v in context.values)


def _no_rule(rule: str, names: list[str], context: Context) -> Html:
    near = nearest(rule, names)
    if near:
        return context.say("ask.no_such_rule_near", rule=rule, near=near)
    return context.say("ask.no_such_rule", rule=rule)


def _episode(turns: Sequence[Alert], context: Context) -> Answer:
    last = _with_present_extreme(turns[-1], context)
    rule = next((r for r in context.settings.rules if r.name == last.rule), None)
    blocks = [
        Html("\n".join([_title(turns, context), *_judged(last, rule, context)])),
        _facts(last, context),
        Html("\n".join([context.say("ask.why.turns"), *_turns(turns, rule, context)])),
        _chats(last, context),
    ]
    return Answer(blocks=tuple(blocks))


def _with_present_extreme(last: Alert, context: Context) -> Alert:
    """``last`` with the worst value up to now: an episode goes on between its turns."""
    standing = context.standing
    if standing is None or last.turn is Turn.CLOSE:
        return last
    known = (*standing.episodes, *standing.stale)
    now = next((alert for alert in known if alert.episode == last.episode), None)
    sign = -1 if last.fires == "below" else 1
    if now is None or sign * now.extreme <= sign * last.extreme:
        return last
    return msgspec.structs.replace(last, extreme=now.extreme, extreme_at=now.extreme_at)


def _title(turns: Sequence[Alert], context: Context) -> Html:
    last, words = turns[-1], context.words
    over = last.turn is Turn.CLOSE
    began = last.opened_at if last.began is None else last.began
    length = words.length(max(0, (last.seen if over else context.now) - began))
    return context.say(
        "ask.why.over" if over else "ask.why.open",
        mark=OVER if over else MARKS[last.level],
        rule=last.rule,
        asset=last.instrument or last.asset,
        time=time(words, began, context.now),
        length=length,
    )


def _judged(last: Alert, rule: Rule | None, context: Context) -> list[Html]:
    """What it was judged by: the level and its place in the configuration, how long it had to last;
    and how far it went.

    A composite is judged by its conditions, which are among its facts.
    """
    if isinstance(last.facts, CascadeFacts):
        needed = str(last.facts.needed)
        within = context.words.length(last.facts.within_ms)
        condition = context.say("ask.why.composite", needed=needed, within=within)
        return [condition, *_causes(last, rule, context)]
    lines = [
        context.say(
            "ask.why.level",
            metric=last.metric,
            fires=context.say(f"ask.fires.{last.fires}"),
            level=context.level(_own_level(last, rule)),
            threshold=f"{last.threshold:g}",
            origin=_origin(last, rule, context),
        )
    ]
    lines += [*_causes(last, rule, context), *_opinions(last, rule, context)]
    if rule is not None and (hold := held_in_words(rule, context.words)):
        origin = origin_of_hold(context.settings, rule)
        lines.append(context.say("ask.why.hold", hold=hold, origin=origin))
    if topic(last.metric) == "regime":  # one is in it or not
        return lines
    worst = _newest(last, context)
    value = _amount(last, worst.extreme, context)
    when = time(context.words, worst.extreme_at, context.now)
    lines.append(context.say("ask.why.extreme", value=value, time=when))
    return lines


def _own_level(last: Alert, rule: Rule | None) -> Level:
    """The level that ``threshold`` is of: that of the value alone, where the rule has no level as
    high as the alert's."""
    row = rule.row_of(last.asset) if rule else None
    if last.alone is None or (row is not None and last.level in row.levels):
        return last.level
    return last.alone


def _causes(last: Alert, rule: Rule | None, context: Context) -> list[Html]:
    """The cause at the last turn, and which causes the rule asks for."""
    lines: list[Html] = []
    if word := cause_in_words(context.words, last.cause):
        lines.append(context.say("ask.why.cause", cause=word))
    if rule is not None and rule.cause:
        lines.append(_asked_cause(rule, context))
        if not word and last.turn is not Turn.CLOSE:
            lines.append(context.say("ask.why.cause_unknown"))
    return lines


def _asked_cause(rule: Rule, context: Context) -> Html:
    causes = " / ".join(cause_in_words(context.words, cause) for cause in rule.cause)
    origin = origin_of_cause(context.settings, rule)
    return context.say("ask.why.causes", causes=causes, origin=origin)


def _opinions(last: Alert, rule: Rule | None, context: Context) -> list[Html]:
    """The values of the metrics in ``when`` at the last turn, and what followed from them."""
    if not last.opinions:
        return []
    asked = Html(
        context.words.semicolon.join(opinion(context.words, each) for each in last.opinions)
    )
    origin = origin_of_when(context.settings, rule) if rule else context.say("ask.why.gone")
    lines = [context.say("ask.why.opinions", list=asked, origin=origin)]
    if last.alone is not None:
        level, alone = context.level(last.level), context.level(last.alone)
        lines.append(context.say("ask.why.kept", level=level, alone=alone))
    return lines


def _newest(last: Alert, context: Context) -> Alert:
    """The last turn, or the episode as the rules see it now if it has got worse since."""
    standing = context.fresh
    if standing is None or last.turn is Turn.CLOSE:
        return last
    sign = 1 if last.fires == "below" else -1
    now = [alert for alert in standing.episodes if alert.episode == last.episode]
    return min((last, *now), key=lambda alert: sign * alert.extreme)


def _origin(last: Alert, rule: Rule | None, context: Context) -> Html:
    """Where the configuration has the level, and whether it says something else now."""
    row = rule.row_of(last.asset) if rule else None
    level = _own_level(last, rule)
    now = row.levels.get(level) if row else None
    if rule is None or now is None:
        return context.say("ask.why.gone")
    place = origin_of_level(context.settings, rule, last.asset, level.name.lower())
    if now != last.threshold:
        return context.say("ask.why.changed", place=place, value=f"{now:g}")
    return context.say("ask.why.place", place=place)


def _amount(alert: Alert, value: float, context: Context) -> Html:
    of = topic(alert.metric)
    text = amount(context.words, of, value, alert.unit)
    return context.say("ask.rate", rate=text) if of in RATES else context.say("ask.item", text=text)


def _facts(last: Alert, context: Context) -> Html:
    """The facts at the last turn, the venues whose data they are, and those left out."""
    lines = [line for line in fact_lines(Voice(last, context.words)) if line]
    if last.venues:
        names = context.words.comma.join(title(venue, context.words) for venue in last.venues)
        lines.append(context.say("ask.why.used", venues=names))
    if last.missing:
        names = context.words.comma.join(title(venue, context.words) for venue in last.missing)
        lines.append(context.say("ask.why.missing", venues=names))
    if not lines:
        return Html()
    return Html("\n".join([context.say("ask.why.facts"), *lines]))


def _turns(turns: Sequence[Alert], rule: Rule | None, context: Context) -> list[Html]:
    shown = list(turns) if len(turns) <= TURNS else [turns[0], *turns[1 - TURNS :]]
    lines: list[Html] = []
    for alert in shown:
        value = Html(f" {_amount(alert, alert.value, context)}")
        if isinstance(alert.facts, CascadeFacts):
            value = Html()
        lines.append(
            context.say(
                "ask.why.turn",
                time=time(context.words, alert.seen, context.now),
                turn=context.say(f"ask.turn.{alert.turn}"),
                level=context.level(alert.level),
                value=value,
                fate=turn_fate(alert, rule, context),
            )
        )
    if len(turns) > TURNS:
        lines.insert(1, context.say("ask.why.left_out", count=str(len(turns) - TURNS)))
    return lines


def turn_fate(alert: Alert, rule: Rule | None, context: Context) -> Html:
    """What became of a turn: why it was not to be posted, or what it came to in each chat."""
    if alert.post:
        return _in_chats(alert, context)
    if rule is not None and not rule.post:
        return context.say("ask.fate.shadow")
    if alert.turn is Turn.CLOSE:
        return context.say("ask.fate.unsaid")
    return context.say("ask.fate.cooldown")


def _in_chats(alert: Alert, context: Context) -> Html:
    """What became of it in the chats that it is for; if that differs, in how many of them."""
    fates = context.fates.get(alert.id)
    if fates is None:
        return context.say("ask.fate.unknown")
    if not fates:
        return context.say("ask.fate.nobody")
    phrases = Counter(_of_chat(alert, fate, context) for fate in fates)
    if len(phrases) == 1:
        return next(iter(phrases))
    each = [
        context.say("ask.fate.chats", fate=phrase, count=str(count))
        for phrase, count in phrases.items()
    ]
    return Html(context.words.dot.join(each))


def _of_chat(alert: Alert, fate: AlertFate, context: Context) -> Html:
    until = "" if fate.until is None else time(context.words, fate.until, context.now)
    return context.say(
        f"ask.fate.{fate.fate}",
        composite=alert.hidden_by or context.say("ask.fate.some_composite"),
        time=until,
        reason=fate.reason,
    )


def _chats(last: Alert, context: Context) -> Html:
    """Which chats get it, and whether it is silenced. Operators only."""
    if context.asker.user not in context.settings.operators.users:
        return Html()
    opening = msgspec.structs.replace(last, turn=Turn.OPEN)
    each = chats(context.settings)
    taking = [chat.key for chat in each if chat.matches(opening)]
    others = [chat.key for chat in each if not chat.matches(opening)]
    comma = context.words.comma
    lines = [context.say("ask.why.chats", chats=comma.join(taking) or "–")]
    if others:
        lines.append(context.say("ask.why.not_chats", chats=comma.join(others)))
    if silenced(last, context.silences, context.now):
        lines.append(context.say("ask.why.silenced"))
    elif covered(last, context.silences, context.now):
        lines.append(context.say("ask.why.silenced_critical"))
    return Html("\n".join(lines))


def _no_episode(wanted: EpisodeQuery, context: Context) -> Answer:
    """How far it is from one now, by every rule that was asked for."""
    if context.fresh is None:
        return Answer(blocks=(_none(wanted, context), stale(context)))
    rules = [
        (rule, row)
        for rule in context.settings.rules
        if wanted.rule in ("", rule.name, rule.family)
        and (row := rule.row_of(wanted.asset)) is not None
    ]
    values = {(v.metric, v.asset): v for v in context.values}
    judged = [
        (rule, row, value)
        for rule, row in rules
        if (value := values.get((rule.metric, wanted.asset))) is not None
    ]
    blocks = [_distance(rule, row, value, context) for rule, row, value in judged]
    if not blocks and not any(v.asset == wanted.asset for v in context.values):
        return only(not_watched(wanted.asset, context))
    begun = [v.since for _, _, v in judged if v.since is not None]
    begun += [
        instance.since
        for instance in context.fresh.composites
        if wanted.rule in ("", instance.composite) and instance.asset == wanted.asset
    ]
    since = max(begun, default=None)
    return Answer(blocks=(_none(wanted, context, since), *blocks))


def _distance(rule: Rule, row: Row, value: Value, context: Context) -> Html:
    """The value now, and the levels that it has not reached or not for long enough."""
    levels = [
        context.say(
            "ask.why.distance",
            level=context.level(level),
            fires=context.say(f"ask.fires.{rule.fires}"),
            threshold=f"{row.levels[level]:g}",
            place=origin_of_level(context.settings, rule, value.asset, name),
        )
        for name, level in LEVELS.items()
        if level in row.levels
    ]
    if rule.cause:
        levels.append(_asked_cause(rule, context))
    if rule.when:
        opinions = [opinion(context.words, _now(when, value, context)) for when in rule.when]
        asked = Html(context.words.semicolon.join(opinions))
        origin = origin_of_when(context.settings, rule)
        levels.append(context.say("ask.why.opinions", list=asked, origin=origin))
    head = context.say("ask.why.rule", rule=rule.name)
    return Html("\n".join([head, first_line(value, context), *levels]))


def _now(when: When, beside: Value, context: Context) -> Opinion:
    """The present value of another metric of the asset of ``beside``, as an opinion."""
    values = [v for v in context.values if (v.metric, v.asset) == (when.metric, beside.asset)]
    value = values[0].value if values else None
    return Opinion(metric=when.metric, unit=metric(when.metric).unit, asked=str(when), value=value)


def _none(wanted: EpisodeQuery, context: Context, since: Ms | None = None) -> Html:
    """That there was none, since when it was watched if that is less than what is kept."""
    rule = context.say("ask.why.of_rule", rule=wanted.rule) if wanted.rule else Html()
    if since is not None and context.now - since < KEPT:
        begin = time(context.words, since, context.now)
        return context.say("ask.why.none_since", rule=rule, asset=wanted.asset, time=begin)
    return context.say("ask.why.none", rule=rule, asset=wanted.asset)
