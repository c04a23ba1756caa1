"""Settings in plain words, for ``lowtide check``."""

from collections.abc import Iterable, Sequence

from bot.config import Settings
from bot.config_schema import LEVELS
from bot.lang.en import length
from bot.logs import redact
from bot.voice import title
from rules.rule import Row, Rule


def describe(settings: Settings) -> str:
    """Venues, markets, where messages go, which Redis, and each rule with its rows."""
    venues = ", ".join(title(venue.name) for venue in settings.venues)
    tail = f"the next {settings.tail} by open interest" if settings.tail else "none"
    head = [
        f"venues    {venues}",
        f"majors    {', '.join(settings.majors) or 'none'}",
        f"large     {', '.join(settings.large) or 'none'}",
        f"tail      {tail}",
        f"messages  {destination(settings)}, language {settings.language}",
        f"redis     {redis(settings)}",
        f"events    kept for {length(settings.keep)}, in at most {settings.max_mb} MB",
    ]
    return "\n".join([*head, *(_rule(rule, settings) for rule in settings.rules)])


def destination(settings: Settings) -> str:
    """Where messages go, and what is missing if that is not Telegram."""
    match (settings.token is not None, settings.chat_id):
        case (True, None):
            return "to the console (set channel.chat_id to post to Telegram)"
        case (False, None):
            return "to the console (set TELEGRAM_BOT_TOKEN and channel.chat_id for Telegram)"
        case (False, chat):
            return f"to the console (set TELEGRAM_BOT_TOKEN to post to {chat})"
        case (_, chat):
            return f"to Telegram chat {chat}"


def redis(settings: Settings) -> str:
    """Which Redis is used, without its password."""
    if settings.redis_url:
        return redact(str(settings.redis_url))
    return f"started by Lowtide, data in {settings.data_dir}"


def _rule(rule: Rule, settings: Settings) -> str:
    first = f"{rule.metric} {rule.fires} the level{_hold(rule)}"
    if not rule.post:
        first += ", never posted"
    rest = (
        f"  over once beyond clear for {length(rule.clear_for)}; held back for "
        f"{length(rule.cooldown)} after a post unless {rule.repost_if:g} times worse"
    )
    named = list(_named(rule, settings))
    width = max([10, *(len(name) for name, _ in named)])
    header = f"  {'':{width}}" + "".join(f"{name:>10}" for name in (*LEVELS, "clear"))
    floors = any(row.floor_musd for _, row in named)
    header += f"{'min loss $M':>13}" if floors else ""
    rows = [_row(name, row, width, floors) for name, row in named]
    return "\n".join(["", f"{rule.name}: {first}", rest, header, *rows])


def _hold(rule: Rule) -> str:
    if rule.settlements:
        return f" for {rule.settlements} settlement{'s' if rule.settlements > 1 else ''}"
    spans = {level.name.lower(): ms for level, ms in rule.hold.items() if ms}
    if len(set(rule.hold.values())) == 1 and spans:
        return f" for {length(next(iter(spans.values())))}"
    return "".join(f", {name} for {length(ms)}" for name, ms in spans.items())


def _named(rule: Rule, settings: Settings) -> Iterable[tuple[str, Row]]:
    """Rows with a name: that of a tier where all its assets share one, else the assets'."""
    for tier, assets in (("majors", settings.majors), ("large", settings.large)):
        yield from _grouped(tier, [asset for asset in assets if asset in rule.rows], rule)
    listed = {*settings.majors, *settings.large}
    yield from ((asset, row) for asset, row in rule.rows.items() if asset not in listed)
    if rule.others:
        yield "tail", rule.others


def _grouped(tier: str, assets: Sequence[str], rule: Rule) -> Iterable[tuple[str, Row]]:
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
