"""/chart: a metric of an asset and its price as a picture. Pure: the picture is asked for."""

from collections.abc import Sequence

from bot.commands.context import Answer, Context, PictureAnswer, only
from bot.commands.market import as_of, first_line, not_watched, order, stale
from bot.commands.overview import TERMS, explained_as, term_names
from bot.commands.parsing import Command, asset_of
from bot.messages.voice import topic
from bot.pictures.subject import drawable, picture_caption, subject, zone_of
from rules.metrics import metric
from rules.snapshot import Value
from streams.durations import DAY, HOUR, MINUTE, duration
from streams.events import Ms

SPAN: Ms = DAY
"""What a picture shows unless something else is asked for."""

SHORTEST: Ms = 10 * MINUTE
LONGEST: Ms = 7 * DAY

_FIRST = ("oi", "depth", "liq", "funding")
"""The topics of the metric that is drawn where none is named, the first that there is."""

_SHARE = 4
"""The window of a metric is at most this part of the span, if there is a choice."""


def chart(command: Command, context: Context) -> Answer:
    """The picture of an asset, or why there is none."""
    standing = context.fresh
    if standing is None:
        return only(stale(context))
    asset, words = asset_of(command.words[0]), list(command.words[1:])
    values = [v for v in context.values if v.asset == asset and drawable(v.metric)]
    if not values:
        return only(not_watched(asset, context))
    values.sort(key=lambda v: order(v.metric, context)[0])
    span = SPAN
    for word in [word for word in words if duration(word.lower())]:
        words.remove(word)
        span = duration(word.lower()) or SPAN
    if not SHORTEST <= span <= LONGEST:
        lengths = {"least": context.words.length(SHORTEST), "most": context.words.length(LONGEST)}
        return only(context.say("ask.chart.span", **lengths))
    value = _named(" ".join(words), values, span, context)
    if value is None:
        names = context.words.comma.join(dict.fromkeys(_word(v.metric, context) for v in values))
        return only(
            context.say("ask.chart.no_metric", asset=asset, word=" ".join(words), list=names)
        )
    return _picture(value, span, context)


def _picture(value: Value, span: Ms, context: Context) -> Answer:
    now, words, settings = context.now, context.words, context.settings
    zone = zone_of(settings.chats[0].quiet, words)
    length = words.window(span).strip()
    request = subject(
        settings, value.metric, value.asset, (now - span, now), zone,
        price=value.price, value=value.value,
    )  # fmt: skip
    return Answer(
        blocks=(first_line(value, context), as_of(context)),
        picture=PictureAnswer(
            request=request,
            about=picture_caption(request, words),
            nothing=context.say("ask.chart.nothing", length=length),
            failed=context.say("ask.chart.failed"),
        ),
    )


def _word(name: str, context: Context) -> str:
    """Under which word a metric is asked for: that of its topic, or the name of a rule."""
    if topic(name) in TERMS:
        return term_names(topic(name), context.words)[0]
    rules = (rule.name.partition(":")[0] for rule in context.settings.rules if rule.metric == name)
    return next(rules, name)


def _named(word: str, values: Sequence[Value], span: Ms, context: Context) -> Value | None:
    """What is drawn: by a metric, a rule, one of its windows, or a topic in any language; without
    a word what tells most."""
    by_metric = {value.metric.casefold(): value for value in values}
    if not word:
        topics = [topic(value.metric) for value in values]
        first = next((of for of in _FIRST if of in topics), topics[0])
        return _of_topic(first, values, span)
    asked = word.casefold()
    if asked in by_metric:
        return by_metric[asked]
    for rule in context.settings.rules:
        family = asked in (rule.name.casefold(), rule.name.partition(":")[0].casefold())
        if family and rule.metric.casefold() in by_metric:
            return by_metric[rule.metric.casefold()]
    return _of_topic(explained_as(word) or asked, values, span)


def _of_topic(of: str, values: Sequence[Value], span: Ms) -> Value | None:
    """The metric of a topic with the longest window that a picture of ``span`` has room for."""
    mine = [value for value in values if topic(value.metric) == of]
    windows = [(metric(value.metric).window or 0, value) for value in mine]
    fit = [window for window, _ in windows if window * _SHARE <= max(span, 4 * HOUR)]
    wanted = max(fit, default=min((window for window, _ in windows), default=0))
    return next((value for window, value in windows if window == wanted), None)
