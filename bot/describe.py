"""Settings in plain words, for ``lowtide check``."""

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from bot.config import Settings
from bot.config_chats import ChatSettings, OperatorSettings, Wanted
from bot.config_values import LEVELS, shown_redis_url
from bot.dispatch import Quiet
from bot.lang.en import length
from bot.voice import title
from rules.alerts import ALL, Level
from rules.composite import Composite
from rules.rule import Row, Rule
from streams.proxies import shown as shown_proxy


def describe(settings: Settings) -> str:
    """Venues, markets, where messages go, which Redis, and each rule with its rows."""
    venues = ", ".join(title(venue.name) for venue in settings.venues)
    tail = f"the next {settings.tail} by open interest" if settings.tail else "none"
    width = max([9, *(len(name) for name in settings.own_tiers)])
    head = [
        ("venues", venues),
        ("majors", ", ".join(settings.majors) or "none"),
        ("large", ", ".join(settings.large) or "none"),
        *((name, ", ".join(assets)) for name, assets in settings.own_tiers.items()),
        ("tail", tail),
        *_messages(settings),
        ("operators", _operators(settings.operators)),
        *_proxies(settings),
        ("redis", redis(settings)),
        ("events", f"kept for {length(settings.keep)}, in at most {settings.max_mb} MB"),
    ]
    lines = [f"{name:{width}}  {text}" for name, text in head]
    composites = [f"\n{one.name}: {composite_in_words(one)}" for one in settings.composites]
    return "\n".join([*lines, *(_rule(rule, settings) for rule in settings.rules), *composites])


def _proxies(settings: Settings) -> list[tuple[str, str]]:
    """Through which proxies, without their passwords; nothing if there is none."""
    found = settings.proxies
    ways = {
        "https": found.secure,
        "http": found.plain if found.plain != found.secure else None,
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


def composite_in_words(composite: Composite) -> str:
    """What makes a composite fire, what it hides and for how long."""
    parts = [f"{family} at {level.name.lower()}" for family, level in composite.all_of]
    needed = composite.enough
    which = "all" if needed == len(parts) else f"at least {needed}"
    text = (
        f"{composite.level.name.lower()} when {which} of these were reached within "
        f"{length(composite.within)}: {', '.join(parts)}"
    )
    if not composite.post:
        text += "; never posted"
    rest = f"not again for {length(composite.cooldown)}"
    if composite.hides:
        hidden = ", ".join(composite.hides)
        rest = f"hides {hidden} while it fires and for {length(composite.hold)} after; {rest}"
    return f"{text}\n  {rest}"


def hold_in_words(rule: Rule) -> str:
    """How long a breach must last, as it follows "below the level"; nothing if not at all."""
    if rule.settlements:
        return f" for {rule.settlements} settlement{'s' if rule.settlements > 1 else ''}"
    spans = {level.name.lower(): ms for level, ms in rule.hold.items() if ms}
    if len(rule.hold) == len(Level) and len(set(rule.hold.values())) == 1 and spans:
        return f" for {length(next(iter(spans.values())))}"
    return "".join(f", {name} for {length(ms)}" for name, ms in spans.items())


def _messages(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each chat with what it is told, then what holds for all of them."""
    for n, chat in enumerate(settings.chats):
        where = destination(chat, settings.token is not None)
        yield "" if n else "messages", f"{where}, language {chat.language}"
        much = f"at most {chat.posts_per_hour} an hour"
        much += f", quiet {_quiet(chat.quiet)}" if chat.quiet else ""
        yield "", f"{wanted_in_words(chat.wanted)}; {much}"
    for webhook in settings.webhooks:
        host = urlsplit(webhook.url).netloc.rpartition("@")[2]
        yield "", f"to a webhook at {host}: {wanted_in_words(webhook.wanted)}"
    if text := _together(settings):
        yield "", text
    unsure = "sent again" if settings.resend else "not sent again"
    yield "", f"a post that perhaps did not arrive is {unsure}"


def _together(settings: Settings) -> str:
    """How long posts wait."""
    waits = {level: ms for level, ms in settings.group_wait.items() if ms}
    named = ", ".join(f"{_low(level)} {length(ms)}" for level, ms in waits.items())
    return f"waits for more of the same: {named}" if named else ""


def _operators(operators: OperatorSettings) -> str:
    """Who runs it, who may ask, how many may subscribe."""
    where = f"notices to chat {operators.chat_id}" if operators.chat_id else "notices to the log"
    count = len(operators.users)
    who = "nobody" if not count else "1 user" if count == 1 else f"{count} users"
    asking = "commands for everyone" if operators.everyone else f"commands for {who}"
    changing = f"changes by {who}" if operators.everyone else ""
    most = f"at most {operators.subscribers} subscribers" if operators.subscribers else ""
    return ", ".join(part for part in (where, asking, changing, most) if part)


def _low(level: Level) -> str:
    return level.name.lower()


def _quiet(quiet: Quiet) -> str:
    return f"{_clock(quiet.start)}-{_clock(quiet.end)} {quiet.zone}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _rule(rule: Rule, settings: Settings) -> str:
    each = " of each contract" if rule.scope == "instrument" else ""
    first = f"{rule.metric}{each} {rule.fires} the level{hold_in_words(rule)}"
    if not rule.post:
        first += ", never posted"
    rest = (
        f"  over once beyond clear for {length(rule.clear_for)}; held back for "
        f"{length(rule.cooldown)} after a post unless {rule.repost_if:g} times worse"
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
