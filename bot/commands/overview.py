"""/start, /help, /status and /rules. Pure."""

from bot.commands.access import offered
from bot.commands.context import ROLES, Answer, Context, VenueReport, only
from bot.commands.market import stale
from bot.commands.parsing import Command, CommandSpec
from bot.config.explain import composite_in_words, hold_in_words, named_rows, when_in_words
from bot.config.values import LEVELS
from bot.delivery.post import ChatReport
from bot.lang import LANGUAGES
from bot.lang.words import Words
from bot.messages.voice import Html, time, title
from bot.plan.planner import ButtonAction
from bot.plan.silences import silence_lines, split_by_end
from rules.composite import Composite
from rules.rule import Row, Rule

SILENCES = 10

TERMS = ("funding", "oi", "depth", "liq", "cascade", "sigma", "level", "bound")
"""The words of posts that /help explains."""

_LEGEND = "ask.legend"
"""The explanation of all in short."""


def start(_command: Command, context: Context) -> Answer:
    """/start: what this is, how to go on, and the number by which operators are known."""
    operators, asker = context.settings.operators, context.asker
    subscribing = asker.private and operators.subscribers
    more = context.say("ask.start.subscribe") if subscribing else Html()
    room = subscribing and context.subscribers < operators.subscribers
    offer = (ButtonAction.SUBSCRIBE,) if room and context.subscription is None else ()
    number = Html() if asker.user in operators.users else context.say(
        "ask.start.number", user=str(asker.user)
    )  # fmt: skip
    return Answer(blocks=(context.say("ask.start"), more, number), buttons=offer)


def help_(command: Command, context: Context) -> Answer:
    """/help: the commands that the asker may use; /help depth: what a word of posts means."""
    if command.words:
        return only(explanation(" ".join(command.words), context))
    specs = offered(context.asker, context.settings.operators)
    reading = [_usage(spec, context) for spec in specs if not spec.changes]
    changing = [_usage(spec, context) for spec in specs if spec.changes]
    blocks = [Html("\n".join([context.say("ask.help"), *reading]))]
    if changing:
        blocks.append(Html("\n".join([context.say("ask.help.changing"), *changing])))
    words = context.words
    blocks.append(
        context.say(
            "ask.help.terms",
            word=_names("term.depth", words)[0],
            list=_terms(words),
            legend=_names("ask.legend", words)[0],
        )
    )
    return Answer(blocks=tuple(blocks))


def explanation(word: str, context: Context) -> Html:
    """What ``word`` means, in whatever language it is written; ``legend``: all in short."""
    words = context.words
    if term := explained_as(word):
        key = term if term == _LEGEND else f"term.{term}"
        return context.say(key, word=_names("term.depth", words)[0])
    return context.say("ask.help.no_term", word=word, list=_terms(words))


def explained_as(word: str) -> str:
    """The one of ``TERMS`` that ``word`` means, in whatever language it is written, or that of all
    in short; "": none of them."""
    asked = word.removeprefix("#").replace(" ", "-").casefold()
    for term in (_LEGEND, *TERMS):
        key = term if term == _LEGEND else f"term.{term}"
        names = [name for of in LANGUAGES.values() for name in _names(key, of)]
        if asked in map(str.casefold, names):
            return term
    return ""


def term_names(term: str, words: Words) -> list[str]:
    """Under which words one of ``TERMS`` is found, the one first by which it is offered."""
    return _names(f"term.{term}", words)


def _names(key: str, words: Words) -> list[str]:
    """The same of the explanation ``key``."""
    return words.phrases[f"{key}.names"].split()


def _terms(words: Words) -> str:
    return words.comma.join(term_names(term, words)[0] for term in TERMS)


def _usage(spec: CommandSpec, context: Context) -> Html:
    text = f"/{spec.name} {spec.usage}".strip()
    return context.say("ask.help.line", usage=text, what=context.say(f"ask.menu.{spec.name}"))


def status(_command: Command, context: Context) -> Answer:
    """/status: which roles run, which feeds are up, what is posted, what is silenced."""
    reports = context.reports
    lines = [context.say("ask.status")]
    if reports.cannot_write:
        lines.append(context.say("ask.redis_full", reason=reports.cannot_write))
    lines += [context.say(f"ask.status.{_running(role, context)}", role=role) for role in ROLES]
    blocks = [Html("\n".join(lines)), _rules_see(context)]
    if venues := [_venue(venue, context) for venue in reports.venues]:
        blocks.append(Html("\n".join(venues)))
    if drifts := _drifts(context):
        blocks.append(Html("\n".join(drifts)))
    return Answer(blocks=(*blocks, _posts(context), _silences(context), _subscribers(context)))


def _running(role: str, context: Context) -> str:
    if role in context.reports.running or role == "bot":  # it is who answers
        return "runs"
    return "unheard" if context.reports.cannot_write else "gone"


def _rules_see(context: Context) -> Html:
    standing = context.fresh
    if standing is None:
        return Html() if context.reports.cannot_write else stale(context)  # said above
    known = [v for v in standing.values if v.value is not None]
    return context.say(
        "ask.status.sees",
        age=context.words.length(max(0, context.now - standing.seen)),
        known=str(len(known)),
        all=str(len(standing.values)),
        open=str(len(standing.episodes)),
    )


def _venue(venue: VenueReport, context: Context) -> Html:
    if venue.trouble:
        return context.say(
            "ask.status.trouble", venue=title(venue.name, context.words), reason=venue.trouble
        )
    feeds = [
        context.say(f"ask.feed.{_state(feed.up, feed.down)}", kind=context.say(f"kind.{kind}"),
                    up=str(feed.up), down=str(feed.down))
        for kind, feed in venue.feeds.items()
    ]  # fmt: skip
    feeds += [
        context.say("ask.feed.not_available", kind=context.say(f"kind.{kind}"))
        for kind in venue.not_available
    ]
    if not venue.sides_known:
        feeds.append(context.say("ask.feed.percent_only", kind=context.say("kind.open_interest")))
    listed_feeds = Html(context.words.comma.join(feeds))
    return context.say(
        "ask.status.venue",
        venue.instruments,
        venue=title(venue.name, context.words),
        count=str(venue.instruments),
        feeds=listed_feeds,
    )


def _drifts(context: Context) -> list[Html]:
    """What does not check out at a venue."""
    standing = context.fresh
    return [
        context.say(
            "ask.status.drift",
            venue=title(drift.venue, context.words),
            time=time(context.words, drift.seen, context.now),
            reason=drift.detail,
        )
        for drift in (standing.drifts if standing else ())
    ]


def _state(up: int, down: int) -> str:
    if not up:
        return "down" if down else "none_yet"
    return "partly" if down else "up"


def _posts(context: Context) -> Html:
    reports = context.reports
    if reports.sent is None:
        return Html()
    lines = [
        context.say(
            "ask.status.posts",
            sent=str(reports.sent),
            refused=str(reports.refused),
            uncertain=str(reports.uncertain),
            queued=str(reports.queued),
        )
    ]
    if context.asker.user in context.settings.operators.users:
        lines += [
            context.say("ask.status.off", chat=chat, reason=reason)
            for chat, reason in reports.off.items()
        ]
        lines += [_troubled(chat, context) for chat in reports.troubled]
    return Html("\n".join(lines))


def _troubled(chat: ChatReport, context: Context) -> Html:
    """A destination by its name, what waits there and why."""
    key = "ask.status.waits" if chat.ready else "ask.status.not_ready"
    parts = [context.say(key, chat=chat.chat, queued=str(chat.queued))]
    if chat.critical_ms:
        parts.append(
            context.say("ask.status.critical", length=context.words.length(chat.critical_ms))
        )
    reason = [context.say("ask.status.reason", reason=chat.reason)] if chat.reason else []
    return Html("".join([*parts, *reason]))


def _silences(context: Context) -> Html:
    in_force = split_by_end(context.silences, context.now)[0]
    if not in_force:
        return context.say("ask.status.no_silence")
    lines = silence_lines(in_force, context.words, context.now)
    return Html("\n".join([context.say("ask.status.silences"), *_escaped(lines, context)]))


def _escaped(lines: list[str], context: Context) -> list[Html]:
    shown = [context.say("ask.item", text=line) for line in lines[:SILENCES]]
    if len(lines) > SILENCES:
        shown.append(context.say("ask.more", count=str(len(lines) - SILENCES)))
    return shown


def _subscribers(context: Context) -> Html:
    most = context.settings.operators.subscribers
    if not most:
        return Html()
    return context.say("ask.status.subscribers", count=str(context.subscribers), most=str(most))


def rules(_command: Command, context: Context) -> Answer:
    """/rules: every rule with its levels, then the composites."""
    settings = context.settings
    if not settings.rules:
        return only(context.say("ask.rules.none"))
    blocks = [_rule(rule, context) for rule in settings.rules]
    blocks += [_composite(composite, context) for composite in settings.composites]
    return Answer(blocks=(context.say("ask.rules"), *blocks))


def _rule(rule: Rule, context: Context) -> Html:
    lines = [
        context.say(
            "ask.rule" if rule.post else "ask.rule.shadow",
            rule=rule.name,
            metric=rule.metric,
            fires=context.say(f"ask.fires.{rule.fires}"),
            hold=hold_in_words(rule, context.words) + when_in_words(rule, context.words),
        )
    ]
    for name, row in named_rows(rule, context.settings):
        lines.append(context.say("ask.rule.row", name=name, levels=_levels(row, context)))
    return Html("\n".join(lines))


def _levels(row: Row, context: Context) -> Html:
    levels = [
        context.say("ask.rule.level", level=context.level(level), value=f"{row.levels[level]:g}")
        for level in LEVELS.values()
        if level in row.levels
    ]
    clear = context.say("ask.rule.clear", value=f"{row.clear:g}")
    return Html(context.words.comma.join([*levels, clear]))


def _composite(composite: Composite, context: Context) -> Html:
    lines = composite_in_words(composite, context.words).splitlines()
    text = context.words.semicolon.join(line.strip() for line in lines)
    return context.say("ask.rule.composite", rule=composite.name, text=text)
