"""Settings in plain words, for ``lowtide check``; and the numbers that hold for one asset, each
with where it comes from, for ``lowtide show``."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from bot.config import Settings
from bot.config.chats import ChatSettings, OperatorSettings, Wanted
from bot.config.messengers import MessengerSettings
from bot.config.values import LEVELS, shown_redis_url
from bot.destination import Service, takes_pictures
from bot.lang import ENGLISH
from bot.lang.words import Words
from bot.meant import did_you_mean
from bot.messages.voice import title
from bot.plan.planner import WEEKDAYS, DailyTime, HourlyTime, Quiet, WeeklyTime
from rules.alerts import ALL, Level
from rules.composite import Composite
from rules.rule import Row, Rule
from streams.proxies import shown as shown_proxy
from streams.venues import VENUES


def describe(settings: Settings) -> str:
    """Venues, markets, where messages go, which Redis, and each rule with its rows."""
    venues = ", ".join(
        title(venue.name) + (f" without {' '.join(venue.leave_out)}" if venue.leave_out else "")
        for venue in settings.venues
    )
    tail = f"the next {settings.tail} by open interest" if settings.tail else "none"
    width = max([9, *(len(name) for name in settings.own_tiers)])
    head = [
        ("venues", venues),
        ("majors", ", ".join(settings.majors) or "none"),
        ("large", ", ".join(settings.large) or "none"),
        *((name, ", ".join(assets)) for name, assets in settings.own_tiers.items()),
        ("tail", tail),
        *_spot(settings),
        *([] if settings.macro else [("macro", "none: no prices of what is no coin")]),
        *_context(settings),
        *_messages(settings),
        ("operators", _operators(settings.operators)),
        *_proxies(settings),
        *_web(settings),
        ("redis", redis(settings)),
        ("events", f"kept for {ENGLISH.length(settings.keep)}, in at most {settings.max_mb} MB"),
    ]
    lines = [f"{name:{width}}  {text}" for name, text in head]
    composites = [
        f"\n{composite.name}: {composite_in_words(composite)}" for composite in settings.composites
    ]
    return "\n".join([*lines, *(_rule(rule, settings) for rule in settings.rules), *composites])


def _spot(settings: Settings) -> list[tuple[str, str]]:
    """Whose spot markets are watched, where a venue has some."""
    if not any(VENUES[venue.name].SPEC.spot for venue in settings.venues):
        return []
    return [("spot", ", ".join(settings.spot) or "none")]


def _context(settings: Settings) -> list[tuple[str, str]]:
    """What is asked beside the venues."""
    names = [title(name) for name in settings.sources]
    names += [series.name for series in settings.series]
    return [("context", ", ".join(names))] if names else []


def _web(settings: Settings) -> list[tuple[str, str]]:
    """Where metrics and health are served, and whether somebody outside is given life signs."""
    push = [("push", "a life sign each minute while all is well")] if settings.push_url else []
    if settings.web is None:
        return push
    host, port = settings.web
    place = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    who = ", with the token" if settings.web_token else ""
    text = f"a page at {place}, with /healthz, /readyz and /metrics{who}"
    return [("web", text), *push]


def _proxies(settings: Settings) -> list[tuple[str, str]]:
    """Through which proxies, without their passwords; nothing if there is none."""
    proxies = settings.proxies
    same = proxies.plain == proxies.secure
    ways = {
        "https and wss, http and ws": proxies.secure if same else None,
        "https and wss": None if same else proxies.secure,
        "http and ws": None if same else proxies.plain,
        "Telegram": settings.telegram_proxy,
    }
    shown = [f"{shown_proxy(url)} for {what}" for what, url in ways.items() if url]
    return [("proxy", ", ".join(shown))] if shown else []


def destination(chat: ChatSettings, has_token: bool) -> str:
    """Where messages go, and what is missing if that is not Telegram."""
    match (has_token, chat.id):
        case (True, None):
            return "to the console (set channel.chat_id to post to Telegram)"
        case (False, None):
            return "to the console (set TELEGRAM_BOT_TOKEN and channel.chat_id for Telegram)"
        case (False, _):
            return f"to the console (set TELEGRAM_BOT_TOKEN to post to {named(chat)})"
        case _:
            return f"to Telegram chat {named(chat)}"


def named(chat: ChatSettings) -> str:
    """The id of a chat, and its topic if it has one."""
    return str(chat.id) if chat.topic is None else f"{chat.id} (topic {chat.topic})"


def wanted_in_words(wanted: Wanted) -> str:
    """``oi_drop, liq_burst on majors, SOL, from alert up``."""
    text = ", ".join(wanted.rules) or "all rules"
    text += f" on {', '.join(wanted.assets)}" if wanted.assets else ""
    return text if wanted.min_level is Level.WATCH else f"{text}, from {_low(wanted.min_level)} up"


def redis(settings: Settings) -> str:
    """Which Redis is used, without user and password."""
    if settings.redis_url:
        return shown_redis_url(settings.redis_url)
    return f"started by Lowtide, data in {settings.data_dir}"


def composite_in_words(composite: Composite, words: Words = ENGLISH) -> str:
    """What makes a composite fire, what it hides and for how long."""
    phrases, needed = words.phrases, composite.enough
    parts = [
        phrases["composite.part"].format(family=family, level=_level(level, words))
        for family, level in composite.all_of
    ]
    text = phrases["composite.all" if needed == len(parts) else "composite.some"].format(
        level=_level(composite.level, words),
        needed=needed,
        within=words.length(composite.within),
        parts=words.comma.join(parts),
    )
    if not composite.post:
        text += phrases["composite.shadow"]
    rest = phrases["composite.again"].format(cooldown=words.length(composite.cooldown))
    if composite.hides:
        hidden, hold = words.comma.join(composite.hides), words.length(composite.hold)
        rest = phrases["composite.hides"].format(hidden=hidden, hold=hold, again=rest)
    return f"{text}\n  {rest}"


def held_in_words(rule: Rule, words: Words = ENGLISH) -> str:
    """How long a breach must last: ``2 min``, ``watch for 5 min, alert for 2 min``, ``1
    settlement``; nothing if not at all."""
    if rule.settlements:
        count = rule.settlements
        return words.phrase("rule.settlements", count).format(count=count)
    spans = {level: ms for level, ms in rule.hold.items() if ms}
    if _held_alike(rule):
        return words.length(next(iter(spans.values()))) if spans else ""
    phrase = words.phrases["rule.level_for"]
    each = [
        phrase.format(level=_level(level, words), length=words.length(ms))
        for level, ms in spans.items()
    ]
    return words.comma.join(each)


def hold_in_words(rule: Rule, words: Words = ENGLISH) -> str:
    """How long a breach must last, as it follows "below the level"."""
    hold = held_in_words(rule, words)
    alike = rule.settlements or _held_alike(rule)
    phrase = words.phrases["rule.for" if alike else "rule.for_each"]
    return phrase.format(hold=hold) if hold else ""


def _held_alike(rule: Rule) -> bool:
    return len(rule.hold) == len(Level) and len(set(rule.hold.values())) == 1


def _level(level: Level, words: Words) -> str:
    return words.phrases[f"ask.level.{level.value}"]


def falls_in_words(least_fall_pct: Mapping[str, float]) -> list[str]:
    """``3 (ETH, SOL)``, ``1.8 (BTC)``: how far which coins must fall to count."""
    groups: dict[float, list[str]] = {}
    for asset, pct in least_fall_pct.items():
        groups.setdefault(pct, []).append(asset)
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [f"{pct:g} ({', '.join(assets)})" for pct, assets in largest]


def when_in_words(rule: Rule, words: Words = ENGLISH) -> str:
    """What else must hold besides the value, ``"; at alert only while price_1h_pct <= -1"``."""
    phrases, both, either = words.phrases, words.between("rule.and"), words.between("rule.or")
    asked = both.join(f"{condition.metric} {condition}" for condition in rule.when)
    values = {
        "falls": both.join(falls_in_words(rule.least_fall_pct)),
        "cause": either.join(phrases[f"cause.{cause.name.lower()}"] for cause in rule.cause),
        "when": asked,
    }
    return "".join(phrases[f"rule.{key}"].format(it=text) for key, text in values.items() if text)


def _messages(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each chat with which alerts it gets, then what holds for all of them."""
    for n, chat in enumerate(settings.chats):
        where = destination(chat, settings.token is not None)
        yield (
            "" if n else "messages",
            f"{where}, language {chat.language}{', short posts' if chat.short else ''}",
        )
        yield "", f"{wanted_in_words(chat.wanted)}; {_how_many(chat)}"
    for webhook in settings.webhooks:
        host = urlsplit(webhook.url).netloc.rpartition("@")[2]
        yield "", f"to webhook {webhook.name} at {host}: {wanted_in_words(webhook.wanted)}"
    for messenger in settings.messengers:
        at = _reached(messenger, settings.messenger_secrets.get(messenger.variable("URL"), ""))
        short = ", short posts" if messenger.short else ""
        yield "", f"to {messenger.key}{at}, language {messenger.language}{short}"
        yield "", f"{wanted_in_words(messenger.wanted)}; {_how_many(messenger)}"
    if text := _together(settings):
        yield "", text
    unsure = "sent again" if settings.resend else "not sent again"
    yield "", f"a post that perhaps did not arrive is {unsure}"


def _reached(messenger: MessengerSettings, address: str) -> str:
    """Where a messenger is; of what apprise is told no more than the service, since where others
    have a host it may have a token."""
    if messenger.service is Service.APPRISE:
        return f" as {address.partition('://')[0]}"
    return f" at {urlsplit(address).netloc.rpartition('@')[2]}" if address else ""


def _how_many(chat: ChatSettings | MessengerSettings) -> str:
    quiet = f", quiet {_quiet(chat.quiet)}" if chat.quiet else ""
    recap = f", recaps from {_low(chat.recap)} up" if chat.recap is not None else ""
    summary = f", summary {_summary(chat.summary)}" if chat.summary else ""
    weekly = f", weekly report {_weekly(chat.weekly_report)}" if chat.weekly_report else ""
    pictures = ""
    takes = isinstance(chat, ChatSettings) or takes_pictures(chat.destination)
    if takes and chat.pictures != "dark":
        pictures = f", {'no' if chat.pictures == 'none' else 'light'} pictures"
    buttons = ", buttons" if isinstance(chat, ChatSettings) and chat.buttons else ""
    return (
        f"at most {chat.posts_per_hour} an hour{quiet}{recap}{summary}{weekly}{pictures}{buttons}"
    )


def _together(settings: Settings) -> str:
    """How long posts wait."""
    waits = {level: ms for level, ms in settings.group_wait.items() if ms}
    named = ", ".join(f"{_low(level)} {ENGLISH.length(ms)}" for level, ms in waits.items())
    return f"waits for more of the same: {named}" if named else ""


def _operators(operators: OperatorSettings) -> str:
    """Who runs it, who may ask, how many may subscribe."""
    where = f"notices to chat {operators.chat_id}" if operators.chat_id else "notices to the log"
    daily = f"status each day at {_daily(operators.status_at)}" if operators.status_at else ""
    count = len(operators.users)
    who = "nobody" if not count else "1 user" if count == 1 else f"{count} users"
    asking = "commands for everyone" if operators.everyone else f"commands for {who}"
    changing = f"changes by {who}" if operators.everyone else ""
    most = f"at most {operators.subscribers} subscribers" if operators.subscribers else ""
    return ", ".join(part for part in (where, daily, asking, changing, most) if part)


def _low(level: Level) -> str:
    return level.name.lower()


def _daily(time: DailyTime) -> str:
    return f"{_clock(time.minute)} {time.zone}"


def _summary(time: HourlyTime | DailyTime) -> str:
    return "each hour" if isinstance(time, HourlyTime) else f"each day at {_daily(time)}"


def _weekly(time: WeeklyTime) -> str:
    return f"{WEEKDAYS[time.weekday]} {_clock(time.minute)} {time.zone}"


def _quiet(quiet: Quiet) -> str:
    return f"{_clock(quiet.start)}-{_clock(quiet.end)} {quiet.zone}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _rule(rule: Rule, settings: Settings) -> str:
    each = " of each contract" if rule.scope == "instrument" else ""
    first = f"{rule.metric}{each} {rule.fires} the level{hold_in_words(rule)}{when_in_words(rule)}"
    if not rule.post:
        first += ", never posted"
    rest = (
        f"  over once beyond clear for {ENGLISH.length(rule.clear_for)}; held back for "
        f"{ENGLISH.length(rule.cooldown)} after a post unless {rule.repost_if:g} times worse"
    )
    named = list(named_rows(rule, settings))
    width = max([10, *(len(name) for name, _ in named)])
    header = f"  {'':{width}}" + "".join(f"{name:>10}" for name in (*LEVELS, "clear"))
    floors = any(row.floor_musd for _, row in named)
    least = "min loss $M" if rule.metric.startswith("depth_") else "min OI $M"
    header += f"{least:>13}" if floors else ""
    rows = [_row(name, row, width, floors) for name, row in named]
    return "\n".join(["", f"{rule.name}: {first}", rest, header, *rows])


def named_rows(rule: Rule, settings: Settings) -> Iterable[tuple[str, Row]]:
    """Rows with a name: that of a tier where all its assets share one, else the assets'."""
    tiers: dict[str, list[str]] = {}
    for asset in rule.rows:
        if asset == ALL:
            tiers[asset] = [asset]
        else:
            tiers.setdefault(_tier(asset, rule, settings), []).append(asset)
    for tier, assets in tiers.items():
        yield from _grouped("all" if tier == ALL else tier, assets, rule)
    if rule.others:
        yield "tail", rule.others


def _tier(asset: str, rule: Rule, settings: Settings) -> str:
    """Whose row the asset has: one of its tiers, else only its own."""
    source, (_, _, window) = settings.source, rule.name.partition(":")
    path = ("rules", rule.family, *(("windows", window) if window else ()))
    tier = settings.tiers.layers(source.keys(*path), asset)[0]
    return asset if tier == "tail" else tier


def _grouped(tier: str, assets: list[str], rule: Rule) -> Iterable[tuple[str, Row]]:
    groups: list[tuple[list[str], Row]] = []
    for asset in assets:
        row = rule.rows[asset]
        same = next((names for names, other in groups if other == row), None)
        if same is None:
            groups.append(([asset], row))
        else:
            same.append(asset)
    for names, row in groups:
        yield (tier if len(groups) == 1 else ", ".join(names)), row


def _row(name: str, row: Row, width: int, floors: bool) -> str:
    cells = [row.levels.get(level) for level in LEVELS.values()]
    text = "".join(f"{'' if cell is None else f'{cell:g}':>10}" for cell in (*cells, row.clear))
    floor = f"{f'{row.floor_musd:g}' if row.floor_musd else '':>13}" if floors else ""
    return f"  {name:{width}}{text}{floor}".rstrip()


_DEFAULT = "default"


class _Line(NamedTuple):
    """One number that holds for an asset."""

    key: str
    """Its key in the file."""
    value: str
    """In words."""
    origin: str
    """Where it comes from: file, line and row."""


def show(settings: Settings, name: str) -> str:
    """Every rule that watches the asset ``name`` (or ``ALL``, the whole market), number by number.

    Raises ValueError if nothing watches it.
    """
    asset = name.upper()
    rules = [(rule, row) for rule in settings.rules if (row := rule.row_of(asset)) is not None]
    rules = [(rule, row) for rule, row in rules if (rule.scope == "market") == (asset == ALL)]
    listed = [*settings.tiers.listed, ALL]
    if not rules:
        raise ValueError(f"no rule watches {asset}{did_you_mean(asset, listed)}")
    blocks = [_head(settings, asset)]
    blocks += [_block(settings, rule, row, asset) for rule, row in rules]
    blocks += [
        _lines_of(
            composite_in_words(composite), list(_composite(settings, composite)), composite.name
        )
        for composite in settings.composites
        if _watched(composite, {rule.family for rule, _ in rules})
    ]
    return "\n\n".join(blocks)


def _watched(composite: Composite, families: set[str]) -> bool:
    """Whether enough of its conditions can be judged for the asset."""
    known = sum(family in families for family, _ in composite.all_of)
    return known >= (composite.enough)


def _head(settings: Settings, asset: str) -> str:
    where = settings.tiers
    if asset == ALL:
        return "the whole market: all contracts that are watched"
    named = [*(t for t in where.names(asset)[1:-1]), where.tier(asset)]
    text = f"{asset}: {', '.join(named)}"
    if asset in where.listed:
        return text
    return f"{text}, if it is among the next {where.tail} by open interest"


def _block(settings: Settings, rule: Rule, row: Row, asset: str) -> str:
    first = f"{rule.metric} {rule.fires} the level"
    if not rule.post:
        first += ", never posted"
    return _lines_of(first, list(_lines(settings, rule, row, asset)), rule.name)


def _lines_of(first: str, lines: list[_Line], name: str) -> str:
    keys, values = (max(len(line[n]) for line in lines) for n in (0, 1))
    text = [f"  {key:{keys}}  {value:>{values}}  {at}" for key, value, at in lines]
    return "\n".join([f"{name}: {first}", *text])


def _lines(settings: Settings, rule: Rule, row: Row, asset: str) -> Iterator[_Line]:
    values = {name: row.levels[level] for name, level in LEVELS.items() if level in row.levels}
    for key, value in {**values, "clear": row.clear}.items():
        yield _Line(key, f"{value:g}", origin_of_level(settings, rule, asset, key))
    yield _Line("for", held_in_words(rule) or "at once", _of_rule(settings, rule, "for"))
    if rule.least_fall_pct:
        falls = ", ".join(falls_in_words(rule.least_fall_pct))
        yield _Line("least_fall_pct", falls, _of_rule(settings, rule, "least_fall_pct"))
    if rule.cause:
        yield _Line("cause", " or ".join(rule.cause), origin_of_cause(settings, rule))
    for condition in rule.when:
        yield _Line("when", f"{condition.metric} {condition}", origin_of_when(settings, rule))
    for key, ms in (("clear_for", rule.clear_for), ("cooldown", rule.cooldown)):
        yield _Line(key, ENGLISH.length(ms), _of_rule(settings, rule, key))
    yield _Line("repost_if", f"{rule.repost_if:g}", _of_rule(settings, rule, "repost_if"))
    if row.floor_musd:
        key = "min_loss_musd" if rule.metric.startswith("depth_") else "min_oi_musd"
        yield _Line(key, f"{row.floor_musd:g}", _of_rule(settings, rule, key))


def _composite(settings: Settings, composite: Composite) -> Iterator[_Line]:
    table = ("rules", composite.name)
    values = {
        "level": composite.level.name.lower(),
        "within": ENGLISH.length(composite.within),
        "at_least": str(composite.enough),
        "hold": ENGLISH.length(composite.hold),
        "cooldown": ENGLISH.length(composite.cooldown),
    }
    for key, value in values.items():
        place = settings.source.place(*table, key)
        if key == "at_least" and not composite.at_least:
            place = settings.source.place(*table, "all_of")
        yield _Line(key, value, place or _DEFAULT)


def origin_of_level(settings: Settings, rule: Rule, asset: str, key: str) -> str:
    """The place of a level, or of ``clear``: in the asset's own row, else in that of its tier."""
    table, source = _tables(rule)[0], settings.source
    names = ("all",) if asset == ALL else settings.tiers.layers(source.keys(*table), asset)
    for name in reversed(names):
        if place := source.place(*table, name, key):
            return f"{place} {name}"
    return _DEFAULT


def origin_of_hold(settings: Settings, rule: Rule) -> str:
    """The place that says how long a breach must last."""
    return _of_rule(settings, rule, "for")


def origin_of_when(settings: Settings, rule: Rule) -> str:
    """The place that says which other metrics are asked."""
    return _of_rule(settings, rule, "when")


def origin_of_cause(settings: Settings, rule: Rule) -> str:
    """The place that says which causes count."""
    return _of_rule(settings, rule, "cause")


def _of_rule(settings: Settings, rule: Rule, key: str) -> str:
    """The place of what holds for a whole rule: its window, the rule, else ``[defaults]``."""
    for table in _tables(rule):
        if place := settings.source.place(*table, key):
            return place
    if place := settings.source.place("defaults", key):
        return f"{place} defaults"
    return _DEFAULT


def _tables(rule: Rule) -> list[tuple[str, ...]]:
    """The tables of the file that make the rule, the nearest first."""
    shared, own = ("rules", rule.family), rule_path(rule)
    return [own, shared] if own != shared else [own]


def rule_path(rule: Rule) -> tuple[str, ...]:
    """The table that has the rule's rows."""
    _, _, window = rule.name.partition(":")
    return ("rules", rule.family, *(("windows", window) if window else ()))
