"""The configuration and the environment → Settings, or every error at once.

Secrets come from the environment alone. An error names the file, the line, the key and what to do.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bot.config.chats import (
    WEBHOOK_SECRET,
    ChatSettings,
    OperatorSettings,
    WebhookSettings,
    chat_problems,
    chats,
    operators,
    secret_problems,
    webhooks,
)
from bot.config.environment import with_place
from bot.config.errors import (
    ConfigError,
    SchemaFault,
    arranged,
    keys_in,
    names_in,
    parsed,
    problem,
    sentences,
    text_of,
)
from bot.config.markets import Problem, Tiers, market_problems, named_supports, tiers
from bot.config.messengers import (
    MESSENGER_SECRET,
    MessengerSettings,
    messenger_problems,
    messenger_secrets,
    messenger_table_problems,
    messengers,
)
from bot.config.rules import composites, resolve
from bot.config.schema import File, LogFormat, LogLevel, Table, TestsFile
from bot.config.sectors import sector_problems
from bot.config.source import (
    SECTORS,
    SHIPPED,
    KeyPath,
    Part,
    Source,
    home,
    index,
    is_shipped,
    layered,
    tests_file,
    with_sectors,
)
from bot.config.testfile import Known, RuleTest, rule_tests
from bot.config.values import redis_url, shown
from bot.config.web import WEB_TOKEN, web_problems
from bot.lang import LANGUAGES
from bot.meant import did_you_mean
from bot.redaction import register, register_address, register_login, register_token
from rules.alerts import Level
from rules.composite import Composite
from rules.rule import Rule
from streams.durations import HOUR
from streams.events import Ms
from streams.feed.selection import Markets
from streams.proxies import NO_PROXIES, VARIABLES, Proxies, proxies
from streams.proxies import problems as proxy_problems
from streams.sources import SOURCES
from streams.venues import VENUES

__all__ = ["ConfigError", "Secret", "Settings", "VenueSettings", "load", "load_tests", "own_tests"]

_ENV_TOKEN = re.compile(r"\d+:[\w-]+")
_Model = TypeVar("_Model", bound=Table)


class Secret(str):
    """Text that does not show itself where a struct is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


class VenueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One venue that is switched on."""

    name: str
    websocket: str | None = None
    """The URL in place of that of its Spec; None: the Spec's."""
    rest: str | None = None
    """The same of REST."""
    leave_out: tuple[str, ...] = ()
    """Patterns of symbols that are not listened to."""


class OwnSeriesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A series of the operator's own."""

    name: str
    unit: str = ""
    url: str = ""
    """"": it is in ``file``."""
    file: Path | None = None
    column: str = ""
    """The one with its numbers; "": the last."""
    every: Ms


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator can choose."""

    path: Path
    """The operator's file."""
    chats: tuple[ChatSettings, ...]
    """Who gets alerts: at least one, which may be the console."""
    operators: OperatorSettings
    webhooks: tuple[WebhookSettings, ...]
    webhook_secret: Secret | None
    """What signs the posts to webhooks."""
    messengers: tuple[MessengerSettings, ...] = ()
    messenger_secrets: Mapping[str, Secret] = {}
    """What messengers are reached by, by the variables of the environment."""
    resend: bool
    """Whether a post of which nobody can say whether it arrived is sent again."""
    language: str
    """The language of everything that has none of its own: notices, webhooks, answers."""
    buttons: bool = False
    """Whether posts to subscribers have buttons."""
    group_wait: Mapping[Level, Ms]
    """How long alerts wait for others, see ``bot.plan.planner.Chat``."""
    api_url: str
    """The Bot API server."""
    token: Secret | None
    """The bot's; None: nothing is sent to Telegram."""
    redis_url: Secret | None
    """None: Lowtide starts a Redis of its own in ``data_dir``."""
    data_dir: Path
    keep: Ms
    """The age up to which events are kept, unless ``max_mb`` is reached before."""
    max_mb: int
    redis_prefix: str = "lowtide"
    """What all keys begin with."""
    metrics_keep: Ms = 34_560_000_000
    """The age up to which the metric log in ``data_dir`` is kept, unless ``metrics_mb`` is reached
    before."""
    metrics_mb: int = 2_000
    history_url: str = "https://data.binance.vision"
    """Where public archives are."""
    web: tuple[str, int] | None = None
    """Address and port of metrics and health; None: they are not served."""
    web_token: Secret | None = None
    """What must be sent to read them; None: nothing."""
    push_url: Secret | None = None
    """What is asked for each minute while all is well; None: nothing."""
    log_format: LogFormat = "logfmt"
    log_level: LogLevel = "info"
    """Less important lines of the log are left out."""
    venues: tuple[VenueSettings, ...]
    majors: tuple[str, ...]
    large: tuple[str, ...]
    own_tiers: Mapping[str, tuple[str, ...]]
    """Tiers of the operator's own, by name."""
    tail: int
    """How many assets are watched besides the listed ones, by open interest."""
    macro: bool = True
    """Whether prices of what is no coin are taken, as far as venues have them."""
    spot: tuple[str, ...] = ()
    """The assets of which spot markets are watched."""
    supports: Mapping[str, tuple[float, ...]] = {}
    """Asset → levels that are watched beside round ones."""
    release_note: Ms | None = HOUR
    """How long before NFP, CPI and FOMC chats get a note; None: they get none."""
    sources: tuple[str, ...] = ()
    """The context sources that are asked."""
    source_urls: Mapping[str, str] = {}
    """URLs in place of those of sources, by their names."""
    series: tuple[OwnSeriesSettings, ...] = ()
    rules: tuple[Rule, ...]
    composites: tuple[Composite, ...]
    tests: tuple[RuleTest, ...]
    """Those in the file itself, see ``load_tests``."""
    source: Source
    """The files that the settings were read from."""
    proxies: Proxies = NO_PROXIES
    """What the environment says, for everything but a Redis."""
    telegram_proxy: Secret | None = None
    """For Telegram in their place."""

    @property
    def proxy_of_telegram(self) -> str | None:
        """The proxy for Telegram: its own, or what the environment says."""
        return self.telegram_proxy or self.proxies.of(self.api_url)

    @property
    def tiers(self) -> Tiers:
        """Which asset is in which tier."""
        return Tiers(majors=self.majors, large=self.large, own=self.own_tiers, tail=self.tail)

    @property
    def markets(self) -> Markets:
        """What to watch. Assets of the operator's own tiers count as large."""
        named = [asset for asset in self.tiers.listed if asset not in self.majors]
        return Markets(
            majors=self.majors,
            large=tuple(named),
            tail=self.tail,
            macro=self.macro,
            spot=self.spot,
        )


def load(path: Path, env: Mapping[str, str]) -> Settings:
    """The settings in ``path`` and ``env`` (TELEGRAM_BOT_TOKEN, REDIS_URL, LOWTIDE_WEBHOOK_SECRET).

    Raises ConfigError with all problems found.
    """
    _register(env)
    source = _source(path)
    raw = dict(source.tables)
    file, problems = _validated(File, arranged(raw), raw)
    rules: tuple[Rule, ...] = ()
    loaded_composites: tuple[Composite, ...] = ()
    tests: tuple[RuleTest, ...] = ()
    if file is not None:
        rules, wrong = resolve(file)
        loaded_composites, faulty = composites(file, names_in(raw.get("rules")))
        names = names_in(raw.get("rules"))
        problems += (
            market_problems(file.markets, list(VENUES), keys_in(raw.get("rules")))
            + _unknown_venues(file)
            + _context_problems(file)
            + sector_problems(file.sectors)
        )
        problems += chat_problems(file, names, tiers(file.markets), LANGUAGES)
        problems += messenger_table_problems(file, names, tiers(file.markets), LANGUAGES)
        problems += wrong + faulty
        if not problems:
            known = Known(rules=rules, composites=loaded_composites)
            tests, problems = rule_tests(file.test, known, source)
    lines = sentences(source, problems) + _env_problems(env) + proxy_problems(env)
    if file is not None:
        lines += secret_problems(file, env.get(WEBHOOK_SECRET, "").strip())
        lines += messenger_problems(messengers(file), env)
        lines += web_problems(file.web.address, env.get(WEB_TOKEN, "").strip())
        for url in (file.redis.url, file.telegram.proxy):
            register_login(url or "")
        for webhook in file.webhooks:
            register_address(webhook.url)
        register_address(file.web.push_url or "")
        for series in file.context.series:
            register_login(series.url or "")
    if lines or file is None:
        raise ConfigError([with_place(sentence, env) for sentence in lines])
    return _settings(file, (rules, loaded_composites, tests), source, env)


def _register(env: Mapping[str, str]) -> None:
    """Keep the secrets of the environment out of logs and errors, whether they are valid or not."""
    register_token(env.get("TELEGRAM_BOT_TOKEN", "").strip())
    register(env.get(WEBHOOK_SECRET, "").strip(), "secret")
    register(env.get(WEB_TOKEN, "").strip(), "secret")
    for name in filter(MESSENGER_SECRET.fullmatch, env):
        value = env[name].strip()
        if "_TOKEN" in name:
            register(value, "secret")
        elif "_APPRISE_" in name:  # where others have a host it may have a token
            register_address(value)
            register(value.partition("://")[2], "address")
        else:
            register_address(value)
    for name in ("REDIS_URL", *VARIABLES, *map(str.lower, VARIABLES)):
        register_login(env.get(name, "").strip())


def _source(path: Path) -> Source:
    """The file, laid on the shipped one if it says so. Raises ConfigError."""
    own = _part(path)
    sectors = _part(SECTORS)
    match own.tables.get("extends"):
        case None:
            return with_sectors(Source((own,), own.tables), sectors)
        case "shipped" if not is_shipped(path):
            return with_sectors(layered(own, _part(SHIPPED)), sectors)
        case other:
            text = (
                f'must be "shipped", the configuration that comes with Lowtide, not {shown(other)}'
            )
            raise ConfigError(sentences(Source((own,)), [(("extends",), text)]))


def _part(path: Path) -> Part:
    text = text_of(path)
    return Part(path, parsed(path, text), index(text))


def load_tests(settings: Settings) -> tuple[RuleTest, ...]:
    """The rule tests of the configuration and of the file of tests beside it, if there is one.

    Raises ConfigError with all problems of the second file.
    """
    path = tests_file(settings.path)
    if not path.exists():
        return settings.tests
    part = _part(path)
    raw = dict(part.tables)
    file, problems = _validated(TestsFile, raw, raw)
    source, tests = Source((part,), raw), tuple[RuleTest, ...]()
    if file is not None and not problems:
        known = Known(rules=settings.rules, composites=settings.composites)
        tests, problems = rule_tests(file.test, known, source)
    if problems:
        raise ConfigError(sentences(source, problems))
    return settings.tests + tests


def own_tests(settings: Settings) -> tuple[RuleTest, ...]:
    """The rule tests that must pass before ``settings`` are used. Raises ConfigError.

    The tests that come with Lowtide judge the rules that come with it: ``lowtide test`` plays them,
    and whoever changes a number of these rules is not held up by them.
    """
    return settings.tests if is_shipped(settings.path) else load_tests(settings)


def _validated(
    model: type[_Model], tables: dict[str, Any], raw: dict[str, Any]
) -> tuple[_Model | None, list[Problem]]:
    """The file without its faulty parts, so that the others can be judged too, and the faults.

    None if the markets are among them, since rules are judged against these.
    """
    try:
        return model.model_validate(tables), []
    except ValidationError as error:
        faults = [_fault(detail) for detail in error.errors(include_url=False)]
    problems = [problem(fault, raw) for fault in faults]
    if any(fault.at[0] == "markets" for fault in faults):
        return None, problems
    faulty = {fault.at[:2] for fault in faults}
    sound: dict[str, Any] = {
        section: _sound(section, table, faulty)
        for section, table in tables.items()
        if (section,) not in faulty
    }
    return model.model_validate(sound), problems


def _fault(detail: ErrorDetails) -> SchemaFault:
    context = detail.get("ctx", {})
    return SchemaFault(detail["loc"], detail["type"], detail["input"], context, detail["msg"])


def _sound(section: str, table: Any, faulty: set[KeyPath]) -> Any:
    """A section without its faulty parts; of a list with one, nothing."""
    if isinstance(table, dict):
        items = cast("dict[str, Any]", table).items()
        return {key: value for key, value in items if (section, key) not in faulty}
    return [] if any(at[0] == section for at in faulty) else table


def _unknown_venues(file: File) -> list[Problem]:
    return [
        (("venues", name), f"unknown venue{did_you_mean(name, list(VENUES))}")
        for name in file.venues
        if name not in VENUES
    ]


def _context_problems(file: File) -> list[Problem]:
    known, problems = list(SOURCES), list[Problem]()
    for key, names in (("sources", file.context.sources), ("urls", [*file.context.urls])):
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) or f": choose from {', '.join(known)}"
                problems.append((("context", key), f'unknown source "{shown(name)}"{hint}'))
    names = [series.name for series in file.context.series]
    for place, series in enumerate(file.context.series):
        at = ("context", "series", place)
        if (series.url is None) is (series.file is None):
            problems.append((at, "needs either a url or a file"))
        if series.name in names[:place]:
            problems.append(((*at, "name"), f'"{series.name}" is the name of another series'))
    return problems


def _series(file: File, folder: Path) -> tuple[OwnSeriesSettings, ...]:
    return tuple(
        OwnSeriesSettings(
            name=table.name,
            unit=table.unit,
            url=table.url or "",
            file=None if table.file is None else folder / table.file,
            column=table.column,
            every=table.every,
        )
        for table in file.context.series
    )


def _env_problems(env: Mapping[str, str]) -> list[str]:
    problems: list[str] = []
    token, url = env.get("TELEGRAM_BOT_TOKEN", "").strip(), env.get("REDIS_URL", "").strip()
    if token and not _ENV_TOKEN.fullmatch(token):
        problems.append(
            "TELEGRAM_BOT_TOKEN (environment): is not a bot token, which looks like "
            "123456789:AAF…; copy it again from @BotFather"
        )
    if url:
        try:
            redis_url(url)
        except ValueError as error:
            problems.append(f"REDIS_URL (environment): {error}")
    return problems


_Resolved = tuple[tuple[Rule, ...], tuple[Composite, ...], tuple[RuleTest, ...]]


def _settings(file: File, resolved: _Resolved, source: Source, env: Mapping[str, str]) -> Settings:
    token = env.get("TELEGRAM_BOT_TOKEN", "").strip()
    url = env.get("REDIS_URL", "").strip() or file.redis.url
    secret = env.get(WEBHOOK_SECRET, "").strip()
    web_token = env.get(WEB_TOKEN, "").strip()
    where = tiers(file.markets)
    return Settings(
        path=source.path,
        chats=chats(file),
        operators=operators(file),
        webhooks=webhooks(file),
        webhook_secret=Secret(secret) if secret else None,
        messengers=messengers(file),
        messenger_secrets={
            name: Secret(value) for name, value in messenger_secrets(messengers(file), env).items()
        },
        resend=file.delivery.on_uncertain == "resend",
        language=file.channel.language,
        buttons=file.channel.buttons,
        group_wait=file.defaults.group_wait,
        api_url=file.telegram.api_url,
        token=Secret(token) if token else None,
        redis_url=Secret(url) if url else None,
        data_dir=home(source.path) / file.redis.data_dir,
        redis_prefix=file.redis.prefix,
        keep=file.redis.keep,
        max_mb=file.redis.max_mb,
        metrics_keep=file.metrics.keep,
        metrics_mb=file.metrics.max_mb,
        history_url=file.history.url,
        web=file.web.address,
        push_url=None if file.web.push_url is None else Secret(file.web.push_url),
        web_token=Secret(web_token) if web_token else None,
        log_format=file.logs.format,
        log_level=file.logs.level,
        venues=_venues(file.markets.venues, file),
        majors=where.majors,
        large=where.large,
        own_tiers=where.own,
        tail=where.tail,
        macro=file.markets.macro,
        spot=where.majors if file.markets.spot is None else tuple(file.markets.spot),
        supports=named_supports(file.markets),
        release_note=file.channel.release_note,
        sources=tuple(dict.fromkeys(file.context.sources)),
        source_urls=file.context.urls,
        series=_series(file, home(source.path)),
        rules=resolved[0],
        composites=resolved[1],
        tests=resolved[2],
        source=source,
        proxies=proxies(env),
        telegram_proxy=Secret(file.telegram.proxy) if file.telegram.proxy else None,
    )


def _venues(names: Sequence[str], file: File) -> tuple[VenueSettings, ...]:
    tables = {name: table.model_dump() for name, table in file.venues.items()}
    for table in tables.values():
        table["leave_out"] = tuple(table["leave_out"])
    return tuple(VenueSettings(name=name, **tables.get(name, {})) for name in dict.fromkeys(names))
