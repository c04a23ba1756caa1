"""Commands without any I/O: what is understood, who may, every answer against a golden text.

After a change of words, run it with LOWTIDE_GOLDEN=write and read the diff.
"""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bot.commands import denied
from bot.commands.access import (
    PER_MINUTE,
    REFUSED_AGAIN,
    AskLimiter,
    AskPace,
    Denial,
    menus,
    offered,
    refusal,
)
from bot.commands.context import (
    AddSilence,
    Asker,
    EndSilence,
    Reports,
    SendTest,
    Subscribe,
    reports,
)
from bot.commands.market import MACRO_GROUPS, market, why_unknown
from bot.commands.parsing import SPECS, Command, Mistake, asset_of, parse
from bot.commands.updates import Person
from bot.commands.why import EpisodeQuery, episode_query
from bot.config import Settings
from bot.config.chats import OperatorSettings
from bot.delivery.fate import AlertFate, Fate
from bot.lang import ENGLISH, LANGUAGES
from bot.messages.blocks import MOST_CHARS, fitted_answer, plain, visible
from bot.messages.voice import Html
from bot.plan.silences import Silence
from bot.plan.subscriptions import ANY, Subscriber
from rules.alerts import Alert, Level, Opinion, Turn
from rules.context import SourceFacts
from rules.engine import Engine
from rules.macro import CryptoValue, MacroValue
from rules.metrics import metric
from rules.snapshot import CompositeSince, Standing, Value
from streams.durations import MINUTE
from streams.events import FaultCode, MarketCap, RateOdds, Release, Stablecoin, fault
from streams.venues import hyperliquid
from tests.bot import asked
from tests.bot.asked import ANN, BOB, DAY, EPISODE, HOUR, MIN, NOW, context, message, replied
from tests.bot.fake_telegram import parsed
from tests.golden import check_text
from tests.rules import scenes
from tests.rules.mix import VENUES

GOLDEN = Path(__file__).parents[1] / "golden" / "commands_en.txt"
MINE = Subscriber(user=ANN, wants={"oi_drop": ("BTC", "ETH"), ANY: (ANY,)})
STRANGER = Asker(user=BOB, name="Bob <b>", private=True)
GROUP = Asker(user=ANN, name="@ann", private=False)
OVER = asked.turn(4, Turn.CLOSE, Level.ALERT, -1.1, NOW - MIN, **asked.WORST)
LATER = msgspec.structs.replace(asked.STANDING, seen=NOW - 10 * MIN)
DRIFT = fault(
    FaultCode.VENUE_DRIFTS, NOW - 40 * MIN, venue="bybit", subject="funding",
    detail="funding: -1 times that of the others (median of 60 coins), as <BTC> -0.01 % against"
    " 0.01 %",
)  # fmt: skip
STRUCTURE = msgspec.structs.replace(asked.STANDING, values=asked.STRUCTURE)
RESET = asked.turn(
    1, Turn.OPEN, Level.WATCH, 1.0, NOW - 8 * MIN, rule="regime:reset", family="regime",
    metric="regime_reset", unit="state", fires="above", threshold=0.5, facts=asked.REGIME,
    missing=(), cause=None, extreme=1.0, price_before=None,
)  # fmt: skip
SECTORS = msgspec.structs.replace(asked.STANDING, values=(*asked.STANDING.values, *asked.SECTORS))
REGIMES = msgspec.structs.replace(
    asked.STANDING, values=(*asked.STANDING.values, *asked.REGIMES, *asked.SUPPORTS)
)
EMPTY = Standing(seen=NOW, values=(), episodes=())
SHADOW = asked.turn(
    1, Turn.OPEN, Level.WATCH, -0.001, NOW - 30 * MIN, rule="funding_predicted", post=False,
    family="funding_predicted", metric="funding_predicted_8h_pct", threshold=0.0, facts=None,
)  # fmt: skip
LONG = [EPISODE[0], *(asked.turn(n, Turn.WORSE, Level.CRITICAL, -8.0 - n / 10, NOW - 9 * MIN + n)
                      for n in range(20))]  # fmt: skip

SURGE = asked.turn(
    1, Turn.OPEN, Level.WATCH, 5.4, NOW - 8 * MIN, rule="surge", family="surge", fires="above",
    threshold=5.0, alone=Level.ALERT, missing=(), cause=None, opinions=(
        Opinion(metric="price_1h_pct", unit="%", asked=">= 2", value=-0.31, agrees=False),
        Opinion(metric="liq_10m_musd", unit="M USD", asked="> 5"),
    ),
)  # fmt: skip

CRYPTO = CryptoValue(
    change_24h_pct=-3.12, change_7d_pct=-12.4, worst_weeks=3, may_be_more=True, week_known=True
)
MACRO = tuple(
    MacroValue(
        asset=asset, price=price, change_24h_pct=pct, venue="hyperliquid", symbol="",
        change_7d_pct=None if pct is None else 2 * pct,
    )
    for asset, price, pct in (
        ("EURUSD", 1.16462, 0.017), ("GOLD", 4569.6, -1.2), ("MSTR", 159.83, -7.83),
        ("NATGAS", 3.0478, None), ("NIKKEI225", 65319.0, 1.75), ("SILVER", 77.806, 1.59),
        ("SOMETHING", 5.0, 1.0), ("SP500", 7542.4, -0.0265),
    )
)  # fmt: skip

HEARD = Reports(running=("streams", "rules", "bot"))
PAUSED = (
    Silence(family="oi_drop", asset="ETH", until=NOW + HOUR, by="@bob"),
    Silence(family="*", asset="*", until=NOW + 20 * MIN, by="@ann", critical=True),
)

FULL = "Redis has no memory left: raise its maxmemory or lower redis.max_mb"
TOO_LONG = "Telegram refuses the message: Bad Request: too <long>"
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "start": ("/start", {}),
    "start in the operators' chat": ("/start", {"asker": GROUP}),
    "start for anybody": ("/start", {"asker": STRANGER}),
    "help for an operator": ("/help", {}),
    "help for anybody": ("/help", {"asker": STRANGER}),
    "help, a word": ("/help depth", {}),
    "help, a word in another language": ("/help 資金費率", {}),
    "help, a hashtag": ("/help #OI", {}),
    "help, two words": ("/help order book", {}),
    "help, liquidations": ("/help liquidations", {}),
    "help, levels": ("/help levels", {}),
    "help, a sum": ("/help ≥", {}),
    "help, deleveraging": ("/help deleveraging", {}),
    "help, sigma": ("/help σ", {}),
    "help, the legend": ("/help legend", {}),
    "help, nothing like it": ("/help zzz", {}),
    "status": ("/status", {}),
    "status when a venue does not check out": (
        "/status", {"standing": msgspec.structs.replace(asked.STANDING, drifts=(DRIFT,))},
    ),
    "status for anybody": ("/status", {"asker": STRANGER, "silences": ()}),
    "status when nothing runs": ("/status", {"standing": None, "reports": Reports()}),
    "status when Redis takes nothing": (
        "/status", {"reports": Reports(running=("rules",), cannot_write=FULL)},
    ),
    "status when Redis has long taken nothing": (
        "/status", {"standing": None, "reports": Reports(cannot_write=FULL)},
    ),
    "oi when Redis has long taken nothing": (
        "/oi BTC", {"standing": None, "reports": Reports(cannot_write=FULL)},
    ),
    "status of few roles": (
        "/status", {"standing": None, "reports": Reports(running=("rules", "bot"), sent=0)},
    ),
    "funding": ("/funding", {}),
    "funding of the market, not to be judged": (
        "/funding",
        {"standing": Standing(seen=NOW, episodes=(), values=(
            msgspec.structs.replace(asked.SHARE, value=None, facts=None),))},
    ),
    "funding of an asset": ("/funding btc", {}),
    "funding that is positive": ("/funding $ETH", {}),
    "funding of an odd name": ("/funding A<B", {}),
    "funding, misspelt": ("/funding BTCC", {}),
    "funding of what is not there": ("/funding ZZZZZ", {}),
    "open interest": ("/oi", {}),
    "open interest of an asset": ("/oi BTC", {}),
    "open interest, not to be judged": ("/oi ETH", {}),
    "depth": ("/depth", {}),
    "depth of an asset": ("/depth BTC", {}),
    "depth, not to be judged": ("/depth ETH", {}),
    "depth without the streams role": (
        "/depth ETH", {"reports": Reports(running=("rules", "bot"))},
    ),
    "open interest that is learned": ("/oi ETH", {
        "standing": asked.watched_since(NOW - 4 * MIN),
        "reports": Reports(running=("streams", "rules")),
    }),
    "depth that is learned": ("/depth ETH", {
        "standing": asked.watched_since(NOW - 4 * MIN),
        "reports": Reports(running=("streams", "rules")),
    }),
    "depth that is learned of all": ("/depth", {
        "standing": asked.watched_since(NOW - 4 * MIN),
        "reports": Reports(running=("streams", "rules")),
    }),
    "open interest that should be known": ("/oi ETH", {
        "standing": asked.watched_since(NOW - 16 * MIN),
        "reports": Reports(running=("streams", "rules")),
    }),
    "depth that takes days": ("/depth BTC", {"reports": Reports(running=("streams", "rules"))}),
    "depth that no rule looks at": ("/depth A<B", {}),
    "liquidations": ("/liq", {}),
    "liquidations of an asset": ("/liq BTC", {}),
    "no liquidations": ("/liq ETH", {}),
    "top": ("/top", {}),
    "market": ("/market", {"standing": msgspec.structs.replace(asked.STANDING, macro=MACRO)}),
    "market, of coins alone": ("/market", {}),
    "market, its structure": ("/market", {"standing": STRUCTURE}),
    "market, all coins together and stablecoins": (
        "/market", {"standing": msgspec.structs.replace(asked.STANDING, values=asked.TOTAL)},
    ),
    "macro": (
        "/macro",
        {"standing": msgspec.structs.replace(
            asked.STANDING, macro=MACRO, context=asked.CONTEXT, crypto=CRYPTO),
         "reports": msgspec.structs.replace(asked.REPORTS, sources=asked.SOURCE_REPORTS)},
    ),
    "macro when sources say little": ("/macro", {"standing": msgspec.structs.replace(
        asked.STANDING, context=(
            SourceFacts(source="coingecko", seen=NOW, facts=(MarketCap(usd=2.9e12),)),
            SourceFacts(source="defillama", seen=NOW, facts=(
                Stablecoin(asset="USDT", supply=1.842e11, price=1.0),)),
            SourceFacts(source="forexfactory", seen=NOW, facts=(
                Release(at=NOW - 1, currency="USD", title="CPI"),)),
            SourceFacts(source="kalshi", seen=NOW, facts=(
                RateOdds(meeting_at=NOW - 1, cut=0, hold=1, hike=0),)),
        ))}),
    "macro, of two prediction markets": ("/macro", {"standing": msgspec.structs.replace(
        asked.STANDING, context=(
            SourceFacts(source="kalshi", seen=NOW - 3 * MIN, facts=(
                RateOdds(meeting_at=NOW + 25 * 24 * HOUR, cut=0.01, hold=0.783, hike=0.207),)),
            SourceFacts(source="polymarket", seen=NOW - 9 * MIN, facts=(
                RateOdds(meeting_at=NOW + 25 * 24 * HOUR, cut=0.005, hold=0.798, hike=0.197),)),
        ))}),
    "macro, crypto of the first day": ("/macro", {"standing": msgspec.structs.replace(
        asked.STANDING, macro=MACRO,
        crypto=CryptoValue(change_24h_pct=1.04, change_7d_pct=None, week_known=True))}),
    "macro, long ago": ("/macro", {"standing": LATER}),
    "sectors": ("/sectors", {"standing": SECTORS}),
    "sectors that no rule looks at": ("/sectors", {}),
    "sectors, long ago": ("/sectors", {"standing": LATER}),
    "market, and its sectors": ("/market", {"standing": SECTORS}),
    "top, which has no sectors": ("/top", {"standing": SECTORS}),
    "regime": ("/regime", {"standing": REGIMES}),
    "regime of an asset": ("/regime btc", {"standing": REGIMES}),
    "regime that is calm": ("/regime a<b", {"standing": REGIMES}),
    "why of a regime": ("/why BTC", {"alerts": (RESET,), "standing": REGIMES}),
    "top, with a regime": (
        "/top", {"standing": Standing(seen=NOW, values=(), episodes=(RESET,))},
    ),
    "regime, not to be judged": ("/regime ETH", {"standing": REGIMES}),
    "regime that no rule looks at": ("/regime SOL", {"standing": REGIMES}),
    "regime of what is not there": ("/regime ZZZZZ", {"standing": REGIMES}),
    "regime without a rule": ("/regime", {}),
    "regime, long ago": ("/regime BTC", {"standing": LATER}),
    "market, and its regime": ("/market", {"standing": REGIMES}),
    "top, which has no regimes": ("/top", {"standing": REGIMES}),
    "market, long ago": ("/market", {"standing": LATER}),
    "top when what was bad has recovered": (
        "/top",
        {"standing": Standing(seen=NOW, values=(), episodes=(msgspec.structs.replace(
            EPISODE[1], level=Level.CRITICAL, value=-1.2, extreme=-9.9),))},
    ),
    "why, when it has been worse since": (
        "/why oi_drop BTC",
        {"alerts": EPISODE[::-1], "standing": Standing(seen=NOW, values=(), episodes=(
            msgspec.structs.replace(EPISODE[1], value=-11.0, extreme=-12.3),))},
    ),
    "top when all is quiet": ("/top", {"standing": EMPTY}),
    "top without rules": ("/liq", {"standing": EMPTY}),
    "what the rules saw long ago": ("/top", {"standing": LATER}),
    "rules that have just started": ("/funding", {"standing": None}),
    "rules that do not run": ("/oi", {"standing": None, "reports": Reports()}),
    "rules": ("/rules", {}),
    "why": ("/why oi_drop BTC", {"alerts": EPISODE[::-1]}),
    "why, over": ("/why BTC", {"alerts": (OVER, *EPISODE[::-1])}),
    "why, for anybody": ("/why BTC", {"alerts": EPISODE[::-1], "asker": STRANGER}),
    "why of an id": (f"/why {EPISODE[0].id}", {"alerts": EPISODE[::-1]}),
    "why of an id that is not kept": (f"/why {EPISODE[0].id}", {}),
    "why of an id of a rule that is gone": ("/why oi_gone:BTC:1:1", {}),
    "why of a rule alone": ("/why oi_drop", {}),
    "why of a composite alone": ("/why CASCADE", {}),
    "why of signs that turn the text": ("/why \u202eCTB", {}),
    "oi of signs that cannot be seen": ("/oi B\u200bTC\u2066", {}),
    "silence with signs that turn the text": ("/silence oi_drop \u202eCTB 6h", {}),
    "why of what others do not bear out": ("/why surge BTC", {"alerts": (SURGE,)}),
    "why not, and what others say": ("/why surge BTC", {}),
    "why of a cascade": ("/why cascade BTC", {"alerts": (asked.CASCADE,)}),
    "why of a shadow": ("/why funding_predicted BTC", {"alerts": (SHADOW,)}),
    "why, when chats differ": (
        "/why cascade BTC",
        {
            "alerts": (asked.CASCADE,),
            "fates": {
                asked.CASCADE.id: (
                    AlertFate(Fate.POSTED),
                    AlertFate(Fate.EDIT_WAITS),
                    AlertFate(Fate.POSTED),
                )
            },
        },
    ),
    "why, all that may become of it": (
        "/why cascade BTC",
        {
            "alerts": (asked.CASCADE,),
            "fates": {
                asked.CASCADE.id: [AlertFate(fate, NOW + 3 * MIN, TOO_LONG) for fate in Fate]
            },
        },
    ),
    "why, for no chat": (
        "/why cascade BTC",
        {"alerts": (asked.CASCADE,), "fates": {asked.CASCADE.id: ()}},
    ),
    "why, long ago": ("/why cascade BTC", {"alerts": (asked.CASCADE,), "fates": {}}),
    "why of many turns": (
        "/why oi_drop:1h BTC",
        {"alerts": tuple(LONG[::-1]),
         "silences": (Silence(family="oi_drop", asset="BTC", until=NOW + HOUR),)},
    ),
    "why, silenced": (
        "/why BTC",
        {"alerts": EPISODE[::-1],
         "silences": (Silence(family="*", asset="BTC", until=NOW + HOUR),)},
    ),
    "why of a changed level": (
        "/why oi_drop BTC",
        {"alerts": (msgspec.structs.replace(EPISODE[1], turn=Turn.OPEN, threshold=-4.0),)},
    ),
    "why of a rule that is gone": (
        "/why BTC",
        {"alerts": (asked.turn(1, Turn.CLOSE, Level.ALERT, -1.0, NOW, rule="old", family="old",
                               post=False),
                    asked.turn(1, Turn.OPEN, Level.ALERT, -6.0, NOW, rule="old", family="old",
                               post=False))},
    ),
    "why not": ("/why oi_drop BTC", {}),
    "why not, soon after the start": (
        "/why oi_drop BTC", {"standing": asked.watched_since(NOW - 6 * MIN)}
    ),
    "why, when it has become worse since": (
        "/why depth_thin BTC", {"alerts": (asked.THIN,), "standing": asked.THINNER}
    ),
    "why not, when nobody knows": ("/why oi_drop BTC", {"standing": None}),
    "why not on what is not watched": ("/why XRPP", {}),
    "why of no rule": ("/why oi_dorp BTC", {}),
    "why of nothing like a rule": ("/why zzzzzz BTC", {}),
    "silence": ("/silence oi_drop BTC 6h", {"asker": GROUP}),
    "silence of everything": ("/silence * ETH 30m", {}),
    "silence for too long": ("/silence oi_drop BTC 90d", {}),
    "silence of an asset that is not watched": ("/silence oi_drop BTCC 6h", {}),
    "silence of no rule": ("/silence ALL BTC 1h", {}),
    "silence of one window": ("/silence oi_drop:1h BTC 6h", {}),
    "silence of what is always critical": ("/silence cascade BTC 6h", {}),
    "silence by somebody else": ("/silence oi_drop BTC 6h", {"asker": STRANGER}),
    "silences": ("/unsilence", {}),
    "no silences": ("/unsilence", {"silences": ()}),
    "unsilence": ("/unsilence oi_drop ETH", {}),
    "unsilence what is not silenced": ("/unsilence oi_drop BTC", {}),
    "unsilence of half": ("/unsilence oi_drop", {}),
    "pause": ("/pause 30m", {"asker": GROUP}),
    "pause for too long": ("/pause 2d", {}),
    "pause for no time": ("/pause soon", {}),
    "pause by somebody else": ("/pause 30m", {"asker": STRANGER}),
    "whether there is a pause": ("/pause", {}),
    "why of what is critical, in a pause": (
        "/why oi_drop:1h BTC", {"alerts": tuple(LONG[::-1]), "silences": PAUSED},
    ),
    "a pause": ("/pause", {"silences": PAUSED}),
    "silences, in a pause": ("/unsilence", {"silences": PAUSED}),
    "resume": ("/resume", {"silences": PAUSED, "asker": GROUP}),
    "resume without a pause": ("/resume", {}),
    "chart": ("/chart BTC", {}),
    "chart of a topic": ("/chart btc funding 7d", {}),
    "chart of a word in another language": ("/chart BTC 爆倉 12h", {}),
    "chart of a rule": ("/chart BTC oi_drop:15m", {}),
    "chart of the market": ("/chart ALL", {}),
    "chart of what is not known now": ("/chart ETH depth", {}),
    "chart of nothing that is drawn": ("/chart BTC <b>regime</b>", {}),
    "chart of too long a time": ("/chart BTC oi 30d", {}),
    "chart of too short a time": ("/chart BTC 1s", {}),
    "chart of what is not watched": ("/chart XRPP", {}),
    "chart, when nobody knows": ("/chart BTC", {"standing": None}),
    "test": ("/test", {}),
    "subscribe": ("/subscribe oi_drop btc ETH", {}),
    "subscribe to more": ("/subscribe liq_burst *", {"subscription": MINE}),
    "subscribe to no rule": ("/subscribe oi_dorp BTC", {}),
    "subscribe to what is not watched": ("/subscribe oi_drop WIFE", {}),
    "subscribe to too much": (
        f"/subscribe oi_drop {' '.join(['BTC'] * 29)}",
        {"subscription": Subscriber(user=ANN, wants={"oi_drop": tuple("ABCDEFGHIJKLMNOPQRSTU"
                                                                      "VWXYZ1234")})},
    ),
    "subscribe when all places are taken": ("/subscribe oi_drop BTC", {"subscribers": 2}),
    "subscribe in the group": ("/subscribe oi_drop BTC", {"asker": GROUP}),
    "subscriptions": ("/subscriptions", {"subscription": MINE}),
    "no subscriptions": ("/subscriptions", {}),
    "unsubscribe from an asset": ("/unsubscribe oi_drop ETH", {"subscription": MINE}),
    "unsubscribe from everything": ("/unsubscribe", {"subscription": MINE}),
    "unsubscribe from what is not there": ("/unsubscribe cascade", {"subscription": MINE}),
    "unsubscribe from nothing": ("/unsubscribe", {}),
    "no such command": ("/fnding BTC", {}),
    "nothing like a command": ("/zzzzzzzz", {}),
    "a slash": ("/ funding", {}),
    "too few words": ("/silence oi_drop", {}),
    "too many characters": (f"/funding {'x' * 300}", {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return asked.settings(tmp_path_factory.mktemp("asked"))


def golden(configured: Settings, language: str = "en") -> str:
    """All answers; what they change, and their HTML, are the same in every language."""
    parts, words = [], LANGUAGES[language]
    configured = msgspec.structs.replace(configured, language=language)
    for name, (text, changes) in CASES.items():
        reply = replied(text, context(configured, **{"words": words, **changes}))
        assert reply is not None
        effects = "".join(f"» {effect}\n" for effect in reply.effects)
        tell = f"» operators: {reply.to_operators}\n" if reply.to_operators else ""
        if (picture := reply.picture) is not None:
            title, drawn = picture.request.title, picture.request.subject
            tell += f"» picture: {title}, {drawn.metric} ({drawn.title})\n"
            tell += f"» {picture.about}\n» {picture.nothing}\n» {picture.failed}\n"
        shown = text if len(text) <= 80 else f"{text[:80]}…"
        if language == "en":
            sent = f"{message(reply)}\n{effects}{tell}"
        else:
            sent = plain(f"{message(reply, words)}\n{tell}")
        parts.append(f"=== {name}\n{shown}\n---\n{sent}")
    return "\n".join(parts)


def test_everything_that_is_no_coin_has_a_line_and_a_name():
    assets = {*hyperliquid._MACRO.values()}
    assert assets == {asset for group in MACRO_GROUPS for asset in group}
    named = {key for key in ENGLISH.phrases if key.startswith("macro.")}
    assert named == {f"macro.{asset}" for asset in assets}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_answer_is_worded_as_agreed(configured: Settings, language: str):
    path = GOLDEN.with_name(f"commands_{language}.txt")
    check_text(path, golden(configured, language))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_every_answer_can_be_sent(configured: Settings, name: str, language: str):
    (text, changes), words = CASES[name], LANGUAGES[language]
    reply = replied(text, context(configured, **{"words": words, **changes}))
    assert reply is not None
    for sent in (message(reply, words), reply.to_operators):
        assert visible(sent) <= MOST_CHARS
        assert not sent or parsed(sent).strip()
        assert "<B" not in sent, "a name is escaped"
        assert not re.search(r"\b(None|nan|inf)\b", sent)


def test_without_sources_that_is_said(configured: Settings):
    none = msgspec.structs.replace(configured, sources=(), series=(), macro=False)
    reply = replied("/macro", context(none))
    assert reply is not None
    assert reply.blocks[0] == ENGLISH.phrases["ask.context.none"]
    assert len(reply.blocks) == 2  # and the time


def test_no_phrase_is_left_over(configured: Settings):
    used = golden(configured).casefold()
    elsewhere = (
        "ask.item", "ask.too_much", "ask.tell.unpaused", "ask.slow",
        "ask.redis", "ask.failed", "ask.no.anonymous",
        "ask.no.stranger", "ask.no.subscribers", "ask.tell.over", "ask.rules.none",
        "ask.name.usual_price", "ask.name.usual_oi", "ask.name.usual_liq",
        "ask.name.falls", "ask.name.price", "ask.name.total", "ask.name.other", "ask.name.breadth",
        "ask.and_more", "ask.why.place", "ask.silence.usage", "ask.silence.no_duration",
        "ask.legend.names", "ask.subscribed.line_gone", "ask.subscribed.gone", "ask.tell.gone",
        "ask.name.regime", "ask.context.none", "ask.context.release",
        "ask.context.figures",
    )  # fmt: skip
    answers = {
        key: text for key, text in ENGLISH.phrases.items() if key.startswith(("ask.", "term."))
    }
    for key, text in answers.items():
        fixed = max(re.split(r"<[^>]+>|\{[^}]+\}", text), key=len)
        where = key in elsewhere or key.startswith("ask.menu.") or key.endswith(".names")
        assert fixed.casefold() in used or where, key


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/status", Command("status")),
        ("  /STATUS  ", Command("status")),
        ("/status@lowtide_bot", Command("status")),
        ("／status", Command("status")),
        ("／ｏｉ＠lowtide_bot　ＢＴＣ", Command("oi", ("BTC",))),
        ("／／status", Mistake("ask.unknown_bare")),
        ("/status@LowTide_Bot", Command("status")),
        ("/status@other_bot", None),
        ("/nothing@other_bot", None),
        ("hello", None),
        ("", None),
        ("see /status", None),
        ("/oi\nBTC", Command("oi", ("BTC",))),
        ("/start abc", Command("start", ("abc",))),
        ("/", Mistake("ask.unknown_bare")),
        ("/ü", Mistake("ask.unknown_bare")),
        ("/stauts", Mistake("ask.unknown_near", {"name": "stauts", "near": "status"})),
        ("/oi BTC ETH", Mistake("ask.usage", {"usage": "/oi [ASSET]"})),
    ],
)
def test_what_is_a_command(text: str, command: object):
    assert parse(text, "lowtide_bot") == command


def test_a_coin_is_asked_about_by_any_of_its_names():
    assert [asset_of(word) for word in ("btc", "$BTC", "#xbt", "matic", "POL", "MKR")] == [
        "BTC", "BTC", "BTC", "POL", "POL", "MKR",
    ]  # fmt: skip


def test_a_bot_that_does_not_know_its_name_ignores_what_is_addressed():
    assert parse("/status@anybody", None) is None
    assert parse("/status", None) == Command("status")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("btc",), EpisodeQuery(rule="", asset="BTC")),
        (("oi_drop", "BTC"), EpisodeQuery(rule="oi_drop", asset="BTC")),
        (("oi_drop:1h", "BTC"), EpisodeQuery(rule="oi_drop:1h", asset="BTC")),
        (("oi_drop:1h:BTC:179",), EpisodeQuery(rule="oi_drop:1h", asset="BTC", opened_at=179)),
        (("oi_drop:1h:BTC:179:2",), EpisodeQuery(rule="oi_drop:1h", asset="BTC", opened_at=179)),
        (
            ("liq:binance/btcusdt:179",),
            EpisodeQuery(rule="liq", asset="BINANCE/BTCUSDT", opened_at=179),
        ),
    ],
)
def test_what_why_is_asked_about(words: tuple[str, ...], wanted: EpisodeQuery):
    assert episode_query(Command("why", words)) == wanted


def test_an_episode_is_complete_with_its_opening():
    wanted = EpisodeQuery(rule="oi_drop", asset="BTC")
    assert [wanted.complete(EPISODE[::-1][:n]) for n in range(4)] == [False, False, False, True]
    assert not wanted.matches(asked.CASCADE)


EVERYONE = OperatorSettings(users=(ANN,), everyone=True)
LISTED = OperatorSettings(users=(ANN,))
NO_SUBSCRIBERS = OperatorSettings(users=(ANN,), everyone=True, subscribers=0)
READING = [name for name, spec in SPECS.items() if not spec.changes and not spec.own]
CHANGING = [name for name, spec in SPECS.items() if spec.changes]
OWN = [name for name, spec in SPECS.items() if spec.own]


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize(
    ("user", "operators", "reading", "changing", "own"),
    [
        (ANN, EVERYONE, None, None, None),
        (ANN, LISTED, None, None, None),
        (BOB, EVERYONE, None, Denial.CHANGE, None),
        (BOB, LISTED, Denial.STRANGER, Denial.STRANGER, Denial.STRANGER),
        (ANN, NO_SUBSCRIBERS, None, None, Denial.NO_SUBSCRIBERS),
        (BOB, NO_SUBSCRIBERS, None, Denial.CHANGE, Denial.NO_SUBSCRIBERS),
    ],
)
def test_who_may_what(private, user, operators, reading, changing, own):
    asker = Asker(user=user, name="x", private=private)
    refusals = {name: refusal(spec, asker, operators) for name, spec in SPECS.items()}
    assert {refusals[name] for name in READING} == {reading}
    assert {refusals[name] for name in CHANGING} == {changing}
    wanted = own if private or own is not None else Denial.NOT_PRIVATE
    assert {refusals[name] for name in OWN} == {wanted}
    assert {s.name for s in offered(asker, operators)} == {
        n for n, no in refusals.items() if not no
    }


def test_a_stranger_is_told_no_whatever_it_is(configured: Settings):
    closed = msgspec.structs.replace(configured, operators=LISTED)
    about = context(closed, asker=STRANGER)
    for text in ("/status", "/silence oi_drop BTC 6h", "/nonsense", "/start"):
        command = parse(text, None)
        assert command is not None
        denial = denied(command, about)
        assert denial is not None and denial[0] is Denial.STRANGER
        assert "<code>12</code>" in message(denial[1]) and not denial[1].effects


def test_only_listed_users_ever_have_effects_but_on_their_own(configured: Settings):
    for name, (text, changes) in CASES.items():
        reply = replied(text, context(configured, **{**changes, "asker": STRANGER}))
        assert reply is not None
        assert all(isinstance(effect, Subscribe) for effect in reply.effects), name
        assert not reply.to_operators


def test_menus_show_what_may_be_used():
    def names(operators: OperatorSettings) -> list[list[str]]:
        return [[spec.name for spec in menu] for menu in menus(operators)]

    public, inside = names(EVERYONE)
    assert "silence" not in public and "subscribe" in public
    assert "silence" in inside and "subscribe" not in inside
    assert names(LISTED)[0] == ["start"]
    assert "subscribe" not in names(NO_SUBSCRIBERS)[0]
    for spec in SPECS.values():
        assert re.fullmatch("[a-z]{1,32}", spec.name)
        assert 1 <= len(ENGLISH.phrases[f"ask.menu.{spec.name}"]) <= 256


def test_what_a_change_changes(configured: Settings):
    def effects(text: str, **changes: object) -> tuple:
        reply = replied(text, context(configured, **changes))
        assert reply is not None
        return reply.effects

    until = NOW + 6 * HOUR
    silence = Silence(family="oi_drop", asset="BTC", until=until, by="@ann")
    assert effects("/silence OI_DROP $btc 6H") == (AddSilence(silence),)
    window = msgspec.structs.replace(silence, family="oi_drop:1h")
    assert effects("/silence OI_DROP:1h $btc 6H") == (AddSilence(window),), "that window alone"
    assert effects("/silence cascade BTC 6h") == (), "it is always critical"
    assert effects("/unsilence oi_drop ETH") == (EndSilence("oi_drop", "ETH"),)
    assert effects("/test") == (SendTest(),)
    subscriber = Subscriber(user=ANN, wants={"oi_drop": ("BTC", "ETH")}, language="en")
    assert effects("/subscribe oi_drop btc eth") == (Subscribe(subscriber),)
    (ended,) = effects("/unsubscribe", subscription=MINE)
    assert ended.subscription.wants == {}


@pytest.mark.parametrize("asset", ["BTC", "ETH"])
def test_why_claims_no_time_in_which_a_composite_was_not_watched(configured: Settings, asset: str):
    since = CompositeSince(composite="cascade", asset=asset, since=NOW - 6 * MIN)
    standing = msgspec.structs.replace(asked.STANDING, composites=(since,))
    for command in (f"/why cascade {asset}", f"/why {asset}"):
        reply = replied(command, context(configured, standing=standing))
        assert reply is not None
        assert "14 days" not in message(reply)
        assert "09:36 UTC</tg-time>; before that it was not watched" in message(reply)


@pytest.mark.parametrize(("now", "worst"), [(99.0, 11.0), (112.0, 2.0)])
def test_top_says_beside_a_level_how_bad_it_was(configured: Settings, now: float, worst: float):
    """A red dot beside "99 %" alone says nothing of why it is red."""
    thin = msgspec.structs.replace(asked.THIN, value=now, extreme=worst)
    standing = Standing(seen=NOW, values=(), episodes=(thin,))
    reply = replied("/top", context(configured, standing=standing))
    assert reply is not None
    assert f"🔴 BTC depth_thin:25bp {now:g}% (worst {worst:g}%)" in message(reply)


@pytest.mark.parametrize("name", ["crash", "twin"])
def test_no_silence_of_a_composite_is_taken_whatever_it_is_called(tmp_path: Path, name: str):
    settings = asked.settings(tmp_path, asked.CONFIG.replace("[rules.cascade]", f"[rules.{name}]"))
    reply = replied(f"/silence {name} ETH 2h", context(settings))
    assert reply is not None
    assert reply.effects == ()
    assert f"{name} is always critical" in message(reply)


def test_what_is_unknown_is_never_a_number(configured: Settings):
    values = tuple(
        msgspec.structs.replace(v, value=None, facts=None, missing=()) for v in asked.VALUES
    )
    blind = Standing(seen=NOW, values=values, episodes=())
    for name in ("funding", "oi", "depth", "liq"):
        for words in ((), ("BTC",)):
            blocks = market(Command(name, words), context(configured, standing=blind)).blocks
            text = re.sub(r"<[^>]+>", "", "\n".join(blocks))
            assert "annot be judged now" in text
            assert not re.search(r"(\$|−|\+)\d", text)


def test_what_the_rules_saw_a_minute_ago_still_counts_and_then_no_more(configured: Settings):
    for age, words in ((60_000, "As of"), (60_001, "nobody knows")):
        old = msgspec.structs.replace(asked.STANDING, seen=NOW - age)
        reply = replied("/oi BTC", context(configured, standing=old))
        assert reply is not None and words in message(reply)


def test_reports_of_roles_are_read_as_far_as_they_can_be():
    venue = {"name": "bybit", "title": "Bybit", "feeds": {"depth": {"up": 1, "down": 2}}, "x": 1}
    chats = [{"chat": "5", "ready": False}, {"chat": "webhook:desk", "ready": False, "queued": 2}]
    bot = {"sent": 3, "off": {"5": "no"}, "troubled": chats}
    status = {"streams": {"venues": [venue]}, "rules": {}, "bot": bot}
    read = reports(status)
    assert read.running == ("streams", "rules", "bot")
    assert read.venues[0].feeds["depth"].down == 2
    assert (read.sent, read.off) == (3, {"5": "no"})
    assert [chat.chat for chat in read.troubled] == ["webhook:desk"]
    assert reports({}) == Reports()
    odd = reports({"streams": {"venues": 5}, "bot": "?"})
    assert (odd.venues, odd.sent, odd.running) == ((), None, ("streams", "bot"))


def test_blocks_are_left_out_as_a_whole_then_lines():
    blocks = [Html("<b>one</b>\ntwo"), Html("three"), Html("four\nfive")]
    assert fitted_answer(blocks, ENGLISH) == "<b>one</b>\ntwo\n\nthree\n\nfour\nfive"
    assert fitted_answer(blocks, ENGLISH, 19) == "<b>one</b>\ntwo\n\n… 2 more"
    long = [Html("<b>one</b>\ntwo and three and four")]
    assert fitted_answer(long, ENGLISH, 12) == "<b>one</b>\n… 1 more"
    assert fitted_answer([Html("x" * 50)], ENGLISH, 40) == "The answer is too long to be sent."


def test_a_sum_over_hundreds_of_assets_fits(configured: Settings):
    value = asked.VALUES[0]
    many = tuple(msgspec.structs.replace(value, asset=f"A{n}") for n in range(2_000))
    crowd = tuple(
        msgspec.structs.replace(e, asset=f"A{n}") for n in range(500) for e in EPISODE[:1]
    )
    standing = Standing(seen=NOW, values=many, episodes=crowd)
    for text in ("/funding", "/top", "/status"):
        reply = replied(text, context(configured, standing=standing))
        assert reply is not None and 50 < visible(message(reply)) <= MOST_CHARS


def test_whatever_an_engine_sees_can_be_told(configured: Settings):
    engine, alerts = Engine(scenes.RULES, VENUES, scenes.COMPOSITES), []
    texts = ["/top", "/status", "/funding", "/oi", "/depth", "/liq"]
    met = 0
    for n, event in enumerate(scenes.history(1)):
        alerts += [out for out in engine.feed(event) if isinstance(out, Alert)]
        if n % 97:
            continue
        standing = engine.standing()
        asset = standing.values[0].asset if standing.values else "BTC"
        about = context(
            configured, standing=standing, now=standing.seen, alerts=tuple(alerts[::-1])
        )
        for text in (*texts, f"/oi {asset}", f"/funding {asset}", f"/why {asset}"):
            reply = replied(text, about)
            assert reply is not None and parsed(message(reply))
            assert visible(message(reply)) <= MOST_CHARS
        met += len(standing.episodes)
    assert met and alerts


def test_a_user_has_so_many_a_minute_and_is_told_once():
    limiter = AskLimiter()
    assert [limiter.ask(1, NOW) for _ in range(PER_MINUTE)] == [AskPace.ANSWER] * PER_MINUTE
    assert [limiter.ask(1, NOW + 1) for _ in range(3)] == [
        AskPace.WARN,
        AskPace.IGNORE,
        AskPace.IGNORE,
    ]
    assert limiter.ask(2, NOW + 1) is AskPace.ANSWER
    assert limiter.ask(1, NOW + MINUTE) is AskPace.ANSWER


def test_who_may_not_ask_is_told_so_once_an_hour():
    limiter = AskLimiter()
    answers = [limiter.refuse(1, NOW + at) for at in (0, 1, REFUSED_AGAIN - 1, REFUSED_AGAIN)]
    assert answers == [True, False, False, True]


def test_the_limiter_forgets():
    limiter = AskLimiter()
    for user in range(5_000):
        limiter.ask(user, NOW + user * 1_000)
        limiter.refuse(user, NOW + user * REFUSED_AGAIN)
    assert len(limiter._asked) <= 2_001
    assert len(limiter._refused) <= 2_001


WORDS = st.sampled_from(
    ["oi_drop", "oi_drop:1h", "BTC", "ETH", "A<B", "*", "6h", "cascade", "ALL", "::", "a:b:1",
     "{x}", "<b>", "&", "\ud800", "1" * 30, "oi_drop:BTC:99999999999999"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda name, words: f"/{name} {' '.join(words)}",
        st.sampled_from([*SPECS, "nothing"]),
        st.lists(st.one_of(WORDS, st.text(max_size=12)), max_size=4),
    ),
)
ABOUTS = st.fixed_dictionaries(
    {
        "standing": st.sampled_from([asked.STANDING, None, LATER, EMPTY]),
        "alerts": st.sampled_from([(), EPISODE[::-1], (asked.CASCADE,), (SHADOW,)]),
        "subscription": st.sampled_from([None, MINE]),
        "subscribers": st.sampled_from([0, 2]),
        "asker": st.sampled_from([GROUP, STRANGER, Asker(user=ANN, name="@ann", private=True)]),
        "now": st.sampled_from([NOW, NOW + DAY]),
    }
)


@hypothesis_settings(max_examples=300, deadline=None)
@given(text=TEXTS, about=ABOUTS)
def test_whatever_is_written_has_an_answer_that_can_be_sent(
    configured: Settings, text: str, about: dict
):
    reply = replied(text, context(configured, **about))
    if reply is None:
        assert not text.strip().startswith("/") or "@" in text
        return
    sent = message(reply)
    assert 0 < visible(sent) <= MOST_CHARS
    assert parsed(sent)


def test_a_name_that_turns_the_text_or_has_lines_is_shown_escaped():
    assert Person(id=1, first_name="A\u202eB", last_name="x\ny").name == r"A\u202eB x\ny"


NAMES = {
    "Lowtide", "Telegram", "Redis", "webhook", "lowtide", "show", "Binance", "Bybit", "Hyperliquid",
    "Coinbase", "CoinGecko", "DefiLlama", "Forex", "Factory", "Kalshi", "Polymarket",
    "config", "toml", "operators", "users", "post", "false", "streams", "rules", "bot", "majors",
    "tail", "all", "UTC", "bp", "OI", "MSTR", "COIN", "NVDA", "TSLA", "KOSPI", "VIX", "TLT", "WTI",
    "lowtide_bot", "desk", "redis", "maxmemory", "max_mb", "price_", "old", "help", "own",
    "regime_reset", "reset", "Asia", "Taipei", "Tokyo",
}  # fmt: skip
"""What is called the same in every language: products, roles, keys of the configuration, units."""

QUOTED = re.compile(r"「[^」]*」")


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_no_english_is_left_in_an_answer_but_names(configured: Settings, language: str):
    words = LANGUAGES[language]
    configured = msgspec.structs.replace(configured, language=language)
    rules = {rule.name for rule in (*configured.rules, *configured.composites)}
    metrics = {rule.metric for rule in configured.rules}
    known = NAMES | set(SPECS) | _latin(" ".join([*rules, *metrics]))
    for name, (text, changes) in CASES.items():
        reply = replied(text, context(configured, **{"words": words, **changes}))
        assert reply is not None
        picture = reply.picture
        below = f"{picture.about}\n{picture.nothing}\n{picture.failed}" if picture else ""
        text_sent = plain(f"{message(reply, words)}\n{reply.to_operators}\n{below}")
        text_sent = QUOTED.sub("", text_sent)
        left = {word for word in _latin(text_sent) - known - _latin(text) if not word.isupper()}
        assert not left, name
        assert not {"ASSET", "RULE"} & _latin(text_sent), name


def _latin(text: str) -> set[str]:
    """The words in Latin letters, but for names of people, coins and hidden signs."""
    return set(re.findall(r"[A-Za-z][A-Za-z_]+", re.sub(r"@\w+|\\U\w+", "", text)))


def test_a_subscription_to_a_rule_that_is_gone_says_so(configured: Settings):
    wants = {"liqs": ("BTC",), "oi_drop": ("ETH",), ANY: ("SOL",)}
    mine = Subscriber(user=ANN, wants=wants)
    reply = replied("/subscriptions", context(configured, subscription=mine))
    assert reply is not None and message(reply).split("\n")[1:] == [
        "liqs: BTC (no such rule any more: nothing comes)", "oi_drop: ETH", "every rule: SOL",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "asset", "days"),
    [
        ("stablecoin_usdt_pct", "ALL", False), ("market_cap_trillion_usd", "ALL", False),
        ("liq_total_24h_musd", "ALL", False), ("volatility_7d_pct", "BTC", True),
        ("correlation_top10_7d", "ALL", True), ("price_1h_sigma", "BTC", True),
    ],
)  # fmt: skip
def test_only_what_takes_days_of_watching_is_said_to(
    configured: Settings, name: str, asset: str, days: bool
):
    unknown = Value(metric=name, unit=metric(name).unit, asset=asset)
    why = why_unknown([unknown], context(configured, reports=HEARD))
    assert (why == ENGLISH.phrases["ask.lack.days"]) is days
    assert days or why == ""
