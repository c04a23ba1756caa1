"""The tables of config.toml as pydantic models: which keys exist and what a value may be.

Used by the configuration alone, to report every error of a file at once; ``Settings`` hold no
pydantic type.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import PlainValidatorFunctionSchema, WithDefaultSchema

from bot.config import values
from bot.config import values as notation
from bot.config.values import Expected, Hold, Values
from bot.destination import Service
from bot.plan.planner import GROUP_WAIT, DailyTime, HourlyTime, Pictures, Quiet, WeeklyTime
from rules.alerts import Cause, Level
from rules.rule import When
from rules.sectors import Weight
from streams.durations import HOUR
from streams.events import Ms

ROWS = "(rows)"
"""Where the rows of tiers and assets are put; nothing that a file would hold by chance."""

COMPOSITES = "(composites)"
"""Where the composites among the rules are put."""

TIERS = ("majors", "large", "tail")
ALL = "all"
"""The only row of a rule on the whole market."""


def _read(read: Callable[[Any], object], written: object) -> PlainValidator:
    """A value that ``read`` makes of what is ``written``: a type, for editors."""
    return PlainValidator(read, json_schema_input_type=written)


Duration = Annotated[Ms, _read(values.duration, str)]
SomeTime = Annotated[Ms, _read(values.some_time, str)]
HttpUrl = Annotated[str, _read(lambda value: values.url(value, ("https", "http")), str)]
BaseUrl = Annotated[str, _read(lambda value: values.url(value, ("https", "http"), base=True), str)]
SocketUrl = Annotated[str, _read(lambda value: values.url(value, ("wss", "ws"), base=True), str)]
Chat = Annotated[int | str, _read(values.chat_id, int | str)]
QuietHours = Annotated[Quiet | None, _read(values.quiet, str)]
Recap = Annotated[Level | None, _read(values.recap, Literal["watch", "alert", "critical", "none"])]
Summary = Annotated[HourlyTime | DailyTime | None, _read(values.summary_time, str)]
Weekly = Annotated[WeeklyTime | None, _read(values.weekly_time, str)]
SomeLevel = Annotated[Level, _read(values.level, Literal["watch", "alert", "critical"])]
Floors = Annotated[dict[str, float], _read(values.floors, float | dict[str, float])]
RowLevel = Annotated[float | str, _read(values.row_level, float | str)]
Condition = Annotated[tuple[str, Level], _read(values.condition, str)]


class Table(BaseModel):
    """What all tables share: unknown keys are errors, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Detail = Literal["short", "full"]


class Channel(Table):
    chat_id: Chat | None = None
    language: str = "en"
    detail: Detail = "full"
    quiet: QuietHours = None
    posts_per_hour: Annotated[int, Field(ge=1)] = 12
    recap: Recap = None
    pictures: Pictures = "dark"
    summary: Summary = None
    weekly_report: Weekly = None
    release_note: Annotated[Ms | None, _read(values.lead, str)] = HOUR
    buttons: bool = False


class WantedTable(Table):
    rules: list[str] | None = None
    assets: list[str] | None = None
    min_level: SomeLevel = Level.WATCH


class ChatTable(WantedTable):
    id: Chat
    topic: Annotated[int, Field(ge=1)] | None = None
    language: str | None = None
    detail: Detail | None = None
    posts_per_hour: Annotated[int, Field(ge=1)] | None = None
    quiet: QuietHours = None
    recap: Recap = None
    pictures: Pictures | None = None
    summary: Summary = None
    weekly_report: Weekly = None
    buttons: bool | None = None


class WebhookTable(WantedTable):
    name: Annotated[str, _read(values.webhook_name, str)] | None = None
    url: HttpUrl


class MessengerTable(WantedTable):
    service: Annotated[
        Service,
        _read(values.messenger_service, Literal["discord", "slack", "ntfy", "line", "apprise"]),
    ]
    name: Annotated[str, _read(values.messenger_name, str)] | None = None
    to: Annotated[str, _read(values.line_id, str)] | None = None
    language: str | None = None
    detail: Detail | None = None
    posts_per_hour: Annotated[int, Field(ge=1)] | None = None
    quiet: QuietHours = None
    recap: Recap = None
    pictures: Pictures | None = None
    summary: Summary = None
    weekly_report: Weekly = None


class Operators(Table):
    chat_id: Chat | None = None
    users: list[Annotated[int, _read(values.user_id, int)]] = []
    status_at: Annotated[DailyTime | None, _read(values.daily_time, str)] = None
    commands: Literal["operators", "everyone"] = "operators"
    subscribers: Annotated[int, Field(ge=0, le=1_000)] = 100


class DeliveryTable(Table):
    on_uncertain: Literal["resend", "drop"] = "resend"


class TelegramTable(Table):
    api_url: BaseUrl = "https://api.telegram.org"
    proxy: Annotated[str, _read(values.proxy, str)] | None = None


class Redis(Table):
    url: Annotated[str, _read(values.redis_url, str)] | None = None
    prefix: Annotated[str, _read(values.redis_prefix, str)] = "lowtide"
    data_dir: Annotated[str, Field(min_length=1)] = "data"
    keep: SomeTime = HOUR
    max_mb: Annotated[int, Field(ge=1)] = 20


class Metrics(Table):
    keep: SomeTime = 34_560_000_000
    max_mb: Annotated[int, Field(ge=1)] = 2_000


class HistoryTable(Table):
    url: BaseUrl = "https://data.binance.vision"


class WebTable(Table):
    address: Annotated[tuple[str, int] | None, _read(values.web_address, str)] = None
    push_url: HttpUrl | None = None


LogFormat = Literal["logfmt", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class LogsTable(Table):
    format: LogFormat = "logfmt"
    level: LogLevel = "info"


class MarketsTable(Table):
    """Any other key is a tier of the operator's own: a list of assets."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, list[str]] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]  # pydantic's way to type them

    venues: list[str]
    majors: list[str] = []
    large: list[str] = []
    tail: Annotated[int, _read(values.tail, int | str)] = 0
    macro: bool = True
    spot: list[str] | None = None
    supports: dict[str, list[Annotated[float, Field(gt=0)]]] = {}

    @property
    def own(self) -> dict[str, list[str]]:
        """The operator's own tiers."""
        return self.__pydantic_extra__


class VenueTable(Table):
    websocket: SocketUrl | None = None
    rest: BaseUrl | None = None
    leave_out: list[Annotated[str, Field(min_length=1)]] = []


class OwnSeriesTable(Table):
    name: Annotated[str, _read(values.series_name, str)]
    unit: Annotated[str, Field(min_length=1, max_length=12)] = ""
    url: HttpUrl | None = None
    file: Annotated[str, Field(min_length=1)] | None = None
    column: str = ""
    every: Annotated[Ms, _read(values.poll_interval, str)] = HOUR


class ContextTable(Table):
    sources: list[str] = []
    urls: dict[str, BaseUrl] = {}
    series: list[OwnSeriesTable] = []


class SectorTable(Table):
    coins: list[str]
    weight: Weight = "equal"


class Defaults(Table):
    cooldown: Duration = HOUR
    repost_if: Annotated[float, Field(gt=1)] = 1.25
    clear_for: Duration = 600_000
    group_wait: Annotated[Mapping[Level, Ms], _read(values.group_wait, str | dict[str, str])] = (
        GROUP_WAIT
    )


class RowTable(Table):
    """Levels by name. NO_LEVEL: the row has none, though one that it lies on does."""

    watch: RowLevel | None = None
    alert: RowLevel | None = None
    critical: RowLevel | None = None
    clear: Annotated[float, _read(values.number, float)] | None = None

    def numbers(self) -> dict[str, float]:
        """The levels that the row has, and ``clear``."""
        return {key: v for key, v in self.model_dump().items() if v not in (None, values.NO_LEVEL)}

    def over(self, below: Mapping[str, float]) -> dict[str, float]:
        """The levels of a row ``below``, as this one changes them."""
        none = {key for key, value in self.model_dump().items() if value == values.NO_LEVEL}
        return {k: v for k, v in below.items() if k not in none} | self.numbers()


class WindowTable(Table):
    """What a rule and each of its windows may hold. ``rows``: see ``ROWS``."""

    hold: Annotated[Hold, _read(values.hold, str | dict[str, str])] | None = Field(
        default=None, alias="for"
    )
    min_loss_musd: Floors = {}
    min_oi_musd: Floors = {}
    least_fall_pct: Annotated[dict[str, float], _read(values.fall_amounts, dict[str, float])] = {}
    when: Annotated[tuple[When, ...], _read(values.when, str | dict[str, str])] | None = None
    cause: Annotated[tuple[Cause, ...], _read(values.causes, str | list[str])] | None = None
    cooldown: Duration | None = None
    repost_if: Annotated[float, Field(gt=1)] | None = None
    clear_for: Duration | None = None
    post: bool | None = None
    rows: dict[str, RowTable] = Field(default={}, alias=ROWS)


class RuleTable(WindowTable):
    metric: str
    fires: Literal["above", "below"]
    scope: Literal["asset", "instrument"] | None = None
    windows: dict[str, WindowTable] = {}


class CompositeTable(Table):
    level: SomeLevel = Level.CRITICAL
    within: SomeTime
    all_of: list[Condition] = []
    any_of: list[Condition] = []
    at_least: Annotated[int, Field(ge=1)] | None = None
    hides: list[str] = []
    hold: Duration = 1_800_000
    cooldown: Duration = 7_200_000
    post: bool = True


def _series(value: object) -> dict[str, Values]:
    """Values by rule; of the test's own rule under ""."""
    if not isinstance(value, dict):
        return {"": notation.series(value)}
    by_rule: dict[str, Values] = {}
    for name, text in cast("dict[str, object]", value).items():
        try:
            by_rule[name] = notation.series(text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if not by_rule:
        raise ValueError("is empty: give a series for each part")
    return by_rule


def _others(value: object) -> dict[str, Values]:
    """Values of other metrics, by name."""
    if not isinstance(value, dict):
        raise ValueError('must be a table of metrics and series, such as { price_1h_pct = "-2x9" }')
    return _series(cast("dict[str, object]", value))


class TestTable(Table):
    name: Annotated[str, Field(min_length=1)]
    rule: str
    asset: str | None = None
    symbol: str | None = None
    every: SomeTime
    series: Annotated[dict[str, Values], _read(_series, str | dict[str, str])]
    size_musd: Annotated[float, Field(ge=0)] | None = None
    when: Annotated[dict[str, Values], _read(_others, dict[str, str])] = {}
    expect: list[Annotated[Expected, _read(notation.expected, str)]]


class TestsFile(Table):
    """The file of rule tests beside config.toml."""

    test: list[TestTable] = []


class File(TestsFile):
    extends: str | None = None
    channel: Channel = Channel()
    chats: list[ChatTable] = []
    operators: Operators = Operators()
    webhooks: list[WebhookTable] = []
    messengers: list[MessengerTable] = []
    delivery: DeliveryTable = DeliveryTable()
    telegram: TelegramTable = TelegramTable()
    redis: Redis = Redis()
    metrics: Metrics = Metrics()
    history: HistoryTable = HistoryTable()
    web: WebTable = WebTable()
    logs: LogsTable = LogsTable()
    markets: MarketsTable
    venues: dict[str, VenueTable] = {}
    context: ContextTable = ContextTable()
    sectors: dict[str, SectorTable] = {}
    defaults: Defaults = Defaults()
    rules: dict[str, RuleTable] = {}
    composites: dict[str, CompositeTable] = Field(default={}, alias=COMPOSITES)


def keys_at(path: Sequence[str | int]) -> list[str]:
    """The keys that the table at ``path`` may hold, as they are written in the file.

    Of rules and their windows with the rows of Lowtide's own tiers, of rules with the keys of
    composites. Items of ``[[test]]`` and other lists have a number after their name, or none.
    """
    match tuple(part for part in path if isinstance(part, str)):
        case ():
            models: tuple[type[Table], ...] = (File,)
        case ("context", "series"):
            models = (OwnSeriesTable,)
        case ("rules", _):
            models = (RuleTable, CompositeTable)
        case ("rules", _, "windows", _):
            models = (WindowTable,)
        case ("rules", _, _) | ("rules", _, "windows", _, _):
            models = (RowTable,)
        case other:
            models = (_SECTIONS[other[0]],)
    names = [f.alias or name for model in models for name, f in model.model_fields.items()]
    rows = (*TIERS, ALL) if ROWS in names else ()
    ours = (ROWS, COMPOSITES)
    return list(dict.fromkeys([*(name for name in names if name not in ours), *rows]))


_SECTIONS: dict[str, type[Table]] = {
    "channel": Channel,
    "chats": ChatTable,
    "operators": Operators,
    "webhooks": WebhookTable,
    "messengers": MessengerTable,
    "delivery": DeliveryTable,
    "telegram": TelegramTable,
    "redis": Redis,
    "metrics": Metrics,
    "history": HistoryTable,
    "web": WebTable,
    "logs": LogsTable,
    "markets": MarketsTable,
    "venues": VenueTable,
    "context": ContextTable,
    "sectors": SectorTable,
    "defaults": Defaults,
    "test": TestTable,
}


class _Described(GenerateJsonSchema):
    """What a value looks like is said in the words of the function that reads it. Without defaults,
    which are not in the units of the file."""

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def function_plain_schema(self, schema: PlainValidatorFunctionSchema) -> JsonSchemaValue:
        json = super().function_plain_schema(schema)
        words = inspect.getdoc(schema["function"]["function"])
        if not words:
            return json
        first, *_ = words.replace("``", "").split("\n\n")
        return {**json, "description": " ".join(first.split())}


def json_schema(
    venues: Sequence[str], languages: Sequence[str], sources: Sequence[str]
) -> dict[str, Any]:
    """What a file may hold, for editors: JSON Schema.

    Nothing is required but in lists of tables, since a file may extend the shipped one.
    """
    whole = File.model_json_schema(schema_generator=_Described)
    tables: dict[str, dict[str, Any]] = {"File": whole, **whole["$defs"]}
    for name, table in tables.items():
        if name not in (
            "ChatTable",
            "WebhookTable",
            "MessengerTable",
            "TestTable",
            "OwnSeriesTable",
            "SectorTable",
        ):
            table.pop("required", None)
        if table.get("properties", {}).pop(ROWS, None):
            table["additionalProperties"] = {"$ref": "#/$defs/RowTable"}
        table.pop("description", None)
        for name_of_key, key in table.get("properties", {}).items():
            key.pop("title", None)
            if name_of_key == "language":
                table["properties"]["language"] = {"enum": list(languages)}
    whole["$defs"]["MarketsTable"]["properties"]["venues"]["items"] = {"enum": list(venues)}
    whole["properties"]["venues"]["propertyNames"] = {"enum": list(venues)}
    context = whole["$defs"]["ContextTable"]["properties"]
    context["sources"]["items"] = context["urls"]["propertyNames"] = {"enum": list(sources)}
    del whole["properties"][COMPOSITES]
    either = [{"$ref": f"#/$defs/{name}"} for name in ("RuleTable", "CompositeTable")]
    whole["properties"]["rules"]["additionalProperties"] = {"anyOf": either}
    return {"$schema": GenerateJsonSchema.schema_dialect, **whole, "title": "Lowtide"}
