"""/silence, /unsilence, /pause, /resume, /test, /subscribe, /unsubscribe and /subscriptions: what
changes something, and the effects by which it does. Pure."""

from collections.abc import Sequence

import msgspec

from bot.commands.context import AddSilence, Answer, Context, EndSilence, SendTest, Subscribe, only
from bot.commands.market import not_watched
from bot.commands.parsing import SPECS, Command, asset_of, usage
from bot.config.markets import looks_like_asset
from bot.config.recipients import operators_language, rule_names
from bot.lang import LANGUAGES
from bot.lang.words import PhraseError, Words
from bot.meant import nearest
from bot.messages.voice import Html, say, time
from bot.plan.silences import (
    ANY,
    Silence,
    pause,
    pause_in_force,
    silence,
    silence_lines,
    split_by_end,
)
from bot.plan.subscriptions import Subscriber, gone_rules, with_assets, without_assets
from rules.alerts import ALL, Level
from streams.events import Ms


def families(context: Context) -> list[str]:
    """The rules that may be silenced or subscribed to, composites among them."""
    return list(rule_names(context.settings))


def silence_(command: Command, context: Context) -> Answer:
    """/silence: from now on, for so long."""
    family, asset, length = command.words
    try:
        new = silence(
            f"{family.lower()} {asset_of(asset)} {length.lower()}",
            list(
                dict.fromkeys([*families(context), *(rule.name for rule in context.settings.rules)])
            ),
            context.now,
            context.asker.name,
        )
    except PhraseError as error:
        return only(context.say("ask.sorry", text=error.in_words(context.words)))
    asset = new.asset
    if _only_critical(new.family, context):
        return only(context.say("ask.silenced.only_critical", rule=new.family))
    if asset != ANY and not _watched(asset, context):
        return only(not_watched(asset, context))

    def silenced(words: Words, key: str, **values: str) -> Html:
        length, until = words.length(new.until - context.now), time(words, new.until, context.now)
        what = {"rule": new.family, "asset": asset, "length": length, "until": until}
        return say(words, key, **what, **values)

    operators = LANGUAGES[operators_language(context.settings)]
    confirmation = silenced(context.words, "ask.silenced")
    to_operators = silenced(operators, "ask.tell.silenced", who=context.asker.name)
    return Answer(
        blocks=(confirmation, context.say("ask.silenced.critical")),
        effects=(AddSilence(new),),
        to_operators=to_operators,
    )


def _only_critical(name: str, context: Context) -> bool:
    """Whether a rule or composite has no other level, so that a silence would do nothing."""
    settings = context.settings
    levels = {composite.level for composite in settings.composites if composite.name == name}
    for rule in settings.rules:
        if name in (rule.family, rule.name):
            rows = [*rule.rows.values(), *([rule.others] if rule.others else [])]
            levels |= {level for row in rows for level in row.levels}
    return levels == {Level.CRITICAL}


def _family(word: str) -> str:
    return word.lower().partition(":")[0]


def _watched(asset: str, context: Context) -> bool:
    if asset == ALL or asset in context.settings.tiers.listed:
        return True
    seen = {v.asset for v in context.values}
    if seen:
        return asset in seen
    return bool(context.settings.tail) and looks_like_asset(asset)


def unsilence(command: Command, context: Context) -> Answer:
    """/unsilence: those in force, or the end of one."""
    in_force = split_by_end(context.silences, context.now)[0]
    if not command.words:
        return only(_listed(in_force, context))
    if len(command.words) != 2:
        return only(context.say(usage(SPECS["unsilence"]).phrase, usage="/unsilence RULE ASSET"))
    family, asset = command.words[0].lower(), asset_of(command.words[1])
    what = {"rule": family, "asset": asset}
    if not any((s.family, s.asset) == (family, asset) for s in in_force):
        nothing = context.say("ask.unsilenced.none", **what)
        return Answer(blocks=(nothing, _listed(in_force, context)))
    return Answer(
        blocks=(context.say("ask.unsilenced", **what),),
        effects=(EndSilence(family, asset),),
        to_operators=context.say_to_operators(
            "ask.tell.unsilenced", who=context.asker.name, **what
        ),
    )


def _listed(in_force: Sequence[Silence], context: Context) -> Html:
    if not in_force:
        return context.say("ask.status.no_silence")
    lines = [context.say("ask.item", text=line) for line in
             silence_lines(in_force, context.words, context.now)]  # fmt: skip
    return Html("\n".join([context.say("ask.status.silences"), *lines]))


def pause_(command: Command, context: Context) -> Answer:
    """/pause: nothing is posted for so long, what is critical neither; alone: whether it is so."""
    if not command.words:
        if (in_force := pause_in_force(context.silences, context.now)) is None:
            return only(context.say("ask.paused.not"))
        return only(_paused(in_force, context.words, "ask.paused", context.now))
    try:
        new = pause(command.words[0].lower(), context.now, context.asker.name)
    except PhraseError as error:
        return only(context.say("ask.sorry", text=error.in_words(context.words)))
    operators = LANGUAGES[operators_language(context.settings)]
    return Answer(
        blocks=(_paused(new, context.words, "ask.paused", context.now),),
        effects=(AddSilence(new),),
        to_operators=_paused(new, operators, "ask.tell.paused", context.now),
    )


def _paused(of: Silence, words: Words, key: str, now: Ms) -> Html:
    until = time(words, of.until, now)
    return say(words, key, length=words.length(of.until - now), until=until, who=of.by)


def resume(_command: Command, context: Context) -> Answer:
    """/resume: the end of a pause."""
    if pause_in_force(context.silences, context.now) is None:
        return only(context.say("ask.paused.not"))
    return Answer(
        blocks=(context.say("ask.resumed"),),
        effects=(EndSilence(ANY, ANY, critical=True),),
        to_operators=context.say_to_operators("ask.tell.resumed", who=context.asker.name),
    )


def test(_command: Command, context: Context) -> Answer:
    """/test: a message to every chat."""
    to_operators = context.say_to_operators("ask.tell.test", who=context.asker.name)
    return Answer(
        blocks=(context.say("ask.testing"),), effects=(SendTest(),), to_operators=to_operators
    )


def subscribe(command: Command, context: Context) -> Answer:
    """/subscribe: to a rule on some assets, besides what is subscribed to already."""
    word, *assets = command.words
    rule, known = _family(word), families(context)
    if rule not in (ANY, *known):
        near = nearest(rule, known)
        key = "ask.no_such_rule_near" if near else "ask.no_such_rule"
        return only(context.say(key, rule=rule, near=near or ""))
    names = [asset_of(asset) for asset in assets]
    for name in names:
        if name != ANY and not _watched(name, context):
            return only(not_watched(name, context))
    most = context.settings.operators.subscribers
    mine = context.subscription
    if mine is None and context.subscribers >= most:
        return only(context.say("ask.subscribed.full", most=str(most)))
    before = mine or Subscriber(user=context.asker.user, language=context.words.language)
    try:
        after = with_assets(before, rule, names)
    except PhraseError as error:
        return only(context.say("ask.sorry", text=error.in_words(context.words)))
    return _now(after, context)


def unsubscribe(command: Command, context: Context) -> Answer:
    """/unsubscribe: from some assets of a rule, from a rule, or from everything."""
    mine = context.subscription
    if mine is None:
        return only(context.say("ask.subscribed.nothing"))
    rule = _family(command.words[0]) if command.words else ANY
    names = [asset_of(asset) for asset in command.words[1:]]
    after = Subscriber(user=mine.user) if not command.words else without_assets(mine, rule, names)
    if after == mine:
        nothing = context.say("ask.subscribed.not_that")
        return Answer(blocks=(nothing, _subscribed(mine, context)))
    return _now(after, context)


def subscriptions(_command: Command, context: Context) -> Answer:
    """/subscriptions: which alerts the asker gets."""
    mine = context.subscription
    return only(_subscribed(mine, context) if mine else context.say("ask.subscribed.nothing"))


def _now(after: Subscriber, context: Context) -> Answer:
    after = msgspec.structs.replace(after, language=context.words.language)
    text = _subscribed(after, context) if after.wants else context.say("ask.subscribed.ended")
    return Answer(blocks=(text,), effects=(Subscribe(after),))


def _subscribed(subscriber: Subscriber, context: Context) -> Html:
    lines = [context.say("ask.subscribed")]
    gone = gone_rules(subscriber, families(context))
    for rule, assets in subscriber.wants.items():
        every_rule, every_asset = context.say("ask.every_rule"), context.say("ask.every_asset")
        lines.append(
            context.say(
                "ask.subscribed.line_gone" if rule in gone else "ask.subscribed.line",
                rule=every_rule if rule == ANY else rule,
                assets=every_asset if ANY in assets else context.words.comma.join(assets),
            )
        )
    return Html("\n".join(lines))
