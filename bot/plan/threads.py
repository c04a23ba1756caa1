"""Threads: which alerts are one event, what is known of it, and when it rings. Pure.

A thread is one event as one chat is told of it: all that happens to one coin within minutes, or to
the market. It has one post, which grows by edits. Who is to be woken again gets a new post, which
goes on in the place of the one before.

Its life: it waits, and nobody has heard of it; it is posted, and grows; it is over, or nobody
judges it any more, or the market's thread has taken it in, and then it takes nothing more but
prices; it is finished. What has not been posted joins the market's thread at once, what was posted
when the market's first post is: until then nothing points there.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache

import msgspec

from rules.alerts import ALL, Alert, Level, Turn
from rules.metrics import metric
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import Ms

JOIN: Ms = 30 * MINUTE
"""So long after an event grew last, what begins on its coin, or in its market, is a part of it."""

LONGEST: Ms = 6 * HOUR
"""What begins so long after an event did is another one: its post is too far up by then."""

MARKET_FROM = 3
"""When events begin on so many coins within ``MARKET_WITHIN``, they are one event of the market."""

MARKET_WITHIN: Ms = 10 * MINUTE

WORSE_AFTER: Ms = 5 * MINUTE
"""What is critical rings once more when it is much worse, but not sooner after the last ring, or
half of the window that it looks back over if that is less: later it is so no more …"""

WORSE_EVERY: Ms = HOUR
"""… and at most so often: each of a chat's majors for itself, all others of an event together."""

MAJOR_AFTER: Ms = 10 * SECOND
"""A major that becomes critical in an event that is rings not sooner after the last ring: so that
several within seconds ring once."""

FURTHER_EVERY: Mapping[Level, Ms] = {Level.ALERT: WORSE_AFTER, Level.CRITICAL: MINUTE}
"""Where posts cannot be edited a further one tells what an edit would, so long after the last."""

AFTER: tuple[Ms, ...] = (HOUR, DAY)
"""So long after the end it is told what the price has done since."""

AFTER_LATE: Ms = 5 * MINUTE
"""A price that comes later than this is not the one of then."""

OLDEST: Ms = 30 * DAY
"""What has not grown for so long is forgotten, whether its end was heard of or not."""


class Thread(msgspec.Struct):
    """One event in one chat. Times are of the clock that stamps alerts."""

    key: str
    """Its name for ever."""
    theme: str
    """See ``theme_of``."""
    subject: str
    """The asset, or ``ALL``: then the coins are inside."""
    began: Ms
    grew: Ms
    """When something began last, rose or got worse in it."""
    parts: dict[str, Alert] = {}
    """Episode → its newest turn that was taken."""
    fresh: list[str] = []
    """Episodes whose newest turn no post shows yet."""
    due: Ms | None = None
    """When it is to be posted, or to ring again; None: nothing waits but for edits."""
    further_at: Ms | None = None
    """When a further post, without a sound, is to tell what is new, where none can be edited."""
    posted_at: Ms = 0
    """When it was posted last."""
    rung: int = 0
    """The highest level at which it was posted; 0: it was not."""
    rang_at: Ms = 0
    """When it rang last."""
    worse_at: Ms | None = None
    """When it rang last because it had got much worse at the same level; majors in ``worse``."""
    worse: dict[str, Ms] = {}
    """The same of each of the chat's majors."""
    critical: list[str] = []
    """The coins of which a post that rang has told that they are critical."""
    reasons: list[str] = []
    """The episodes because of which it is to ring at the level at which it has rung."""
    asleep: bool = False
    """It waits for the end of the quiet hours."""
    ended: Ms | None = None
    """When its last part ended; or since when it is unwatched, or told in the market's thread."""
    unwatched: bool = False
    """It has no end: the configuration has changed, and nobody judges any more what was open."""
    market: str = ""
    """The key of the market's thread that has taken it in; "": none has."""
    before: dict[str, float] = {}
    """Asset → its price at the start of the window with which the event began on it, if that is an
    hour at most, else when it began; as far as known."""
    prices: dict[str, float] = {}
    """Asset → its price at the end, as far as known."""
    since: dict[Ms, dict[str, float]] = {}
    """How long after the end → asset → the change of its price since then, in percent."""
    done: list[Ms] = []
    """The times of ``AFTER`` that have passed."""

    @property
    def news(self) -> list[Alert]:
        """The turns that no post shows yet."""
        return [self.parts[key] for key in self.fresh if key in self.parts]

    @property
    def next_at(self) -> Ms | None:
        """When there is something to post; None: nothing waits but for edits."""
        return min((at for at in (self.due, self.further_at) if at is not None), default=None)

    @property
    def posted(self) -> bool:
        """Whether readers have heard of it."""
        return self.rung > 0

    @property
    def finished(self) -> bool:
        """Whether its post has nothing more to become."""
        return self.ended is not None and (bool(self.market) or self.after_due() is None)

    @property
    def level(self) -> Level:
        """The highest level that was reached."""
        return max((alert.level for alert in self.parts.values()), default=Level.WATCH)

    @property
    def going_on(self) -> bool:
        """Whether any part is still open. What looks back over many hours stays so for as long,
        and keeps no event open in which something faster took part."""
        parts = [alert for alert in self.parts.values() if not _slow(alert.metric)]
        return any(alert.turn is not Turn.CLOSE for alert in parts or self.parts.values())

    @property
    def assets(self) -> tuple[str, ...]:
        """The coins in it."""
        return tuple(dict.fromkeys(a.asset for a in self.parts.values() if a.asset != ALL))

    def add(self, alert: Alert) -> None:
        """Take the newest turn of an episode. Of earlier episodes of its rule and coin the worst
        stays."""
        self.parts[str(alert.episode)] = alert
        windowed = alert.price_before is not None and not _slow(alert.metric)
        price = alert.price_before if windowed else alert.price
        if alert.asset != ALL and price is not None:
            self.before.setdefault(alert.asset, price)
        same = [
            (key, other)
            for key, other in self.parts.items()
            if (other.rule, other.asset, other.instrument)
            == (alert.rule, alert.asset, alert.instrument)
            and other.turn is Turn.CLOSE
        ]
        sign = 1 if alert.fires == "below" else -1
        for key, _ in sorted(same, key=lambda part: sign * part[1].extreme)[1:]:
            del self.parts[key]

    def after_due(self) -> Ms | None:
        """When to look next at what the price has done since the end."""
        if self.ended is None or self.market:
            return None
        left = [self.ended + wait for wait in AFTER if wait not in self.done]
        return min(left, default=None)

    def take_prices(self, now: Ms, prices: Mapping[str, float]) -> bool:
        """Look at the prices that are due ``now``. Whether any of them is known."""
        known = False
        for wait in AFTER:
            if self.ended is None or self.market or wait in self.done or now < self.ended + wait:
                continue
            self.done.append(wait)
            if now > self.ended + wait + AFTER_LATE:
                continue  # the price of then is unknown
            changes = {
                asset: 100 * (prices[asset] / before - 1)
                for asset, before in self.prices.items()
                if asset in prices and before > 0
            }
            if changes:
                self.since[wait] = changes
                known = True
        return known

    def end(self, now: Ms, prices: Mapping[str, float]) -> None:
        """Its last part has ended."""
        self.ended, self.due, self.further_at = now, None, None
        closing = {
            alert.asset: alert.price
            for alert in self.parts.values()
            if alert.price is not None and now - alert.seen <= MINUTE
        }
        self.prices = {a: price for a in self.assets if (price := prices.get(a, closing.get(a)))}

    def take_in(self, coin: "Thread", now: Ms) -> None:
        """All that is in ``coin`` is told here from ``now`` on, and rings no more than if it had
        been told here from the beginning."""
        self.parts |= coin.parts
        earlier = coin.before if coin.began < self.began else {}
        self.before = coin.before | self.before | earlier
        self.fresh += coin.fresh
        self.began = min(self.began, coin.began)
        self.grew = max(self.grew, coin.grew)
        self.rung = max(self.rung, coin.rung)
        self.rang_at = max(self.rang_at, coin.rang_at)
        self.posted_at = max(self.posted_at, coin.posted_at)
        self.asleep = self.asleep or coin.asleep
        dues = [at for at in (self.due, coin.due) if at is not None]
        self.due = min(dues, default=None)
        worse_at = [at for at in (self.worse_at, coin.worse_at) if at is not None]
        self.worse_at = max(worse_at, default=None)
        self.worse = coin.worse | self.worse
        rung = [coin.subject] if coin.rung >= Level.CRITICAL else []
        self.critical = list(dict.fromkeys([*self.critical, *coin.critical, *rung]))
        self.reasons += coin.reasons
        coin.fresh, coin.due, coin.further_at = [], None, None
        coin.ended, coin.market = now, self.key

    def worsened(self) -> list[Alert]:
        """The ``reasons`` that still are: what has ended rings no more."""
        parts = [self.parts[key] for key in dict.fromkeys(self.reasons) if key in self.parts]
        return [alert for alert in parts if alert.turn is not Turn.CLOSE]

    def rang(self, now: Ms) -> None:
        """A post of all that is in it has rung."""
        bad = [alert.asset for alert in self.parts.values() if alert.level >= Level.CRITICAL]
        self.rang_at, self.reasons = now, []
        self.critical = list(dict.fromkeys([*self.critical, *bad]))

    def rang_worse(self, alert: Alert, now: Ms, majors: Collection[str]) -> None:
        """It rings because of ``alert``, which uses up the limit that holds for it; a major that
        rings for the first time has used up none."""
        if alert.asset not in majors:
            self.worse_at = now
        elif alert.asset in self.critical:
            self.worse[alert.asset] = now

    def set_back(self, by: Ms) -> None:
        """The clock was set back ``by`` so much: everything is as old as it was."""
        self.began, self.grew, self.rang_at = self.began - by, self.grew - by, self.rang_at - by
        self.posted_at -= by
        self.due = None if self.due is None else self.due - by
        self.further_at = None if self.further_at is None else self.further_at - by
        self.worse_at = None if self.worse_at is None else self.worse_at - by
        self.worse = {asset: at - by for asset, at in self.worse.items()}
        self.ended = None if self.ended is None else self.ended - by


def _slow(name: str) -> bool:
    """Whether the metric looks back over more than an hour."""
    return (_window(name) or 0) > HOUR


@cache
def _window(name: str) -> Ms | None:
    """Over how much the metric looks back; None: over nothing, or it is a composite, or what
    another version has said."""
    try:
        return metric(name).window
    except ValueError:
        return None


def theme_of(alert: Alert) -> str:
    """What kind of event it belongs to. Funding goes on for days and has events of its own, and so
    has the regime, whose transitions tell of such events; price, open interest, liquidations, depth
    and everything else are of one kind."""
    return next(
        (of for of in ("funding", "regime") if alert.metric.startswith(f"{of}_")), "leverage"
    )


def thread_with(threads: Iterable[Thread], alert: Alert) -> Thread | None:
    """The thread that its episode is a part of: of one that went on after its event, the newest."""
    key = str(alert.episode)
    mine = [thread for thread in threads if key in thread.parts and not thread.market]
    return max(mine, key=lambda thread: (thread.ended is None, thread.began), default=None)


def joined_by(threads: Iterable[Thread], alert: Alert, now: Ms) -> Thread | None:
    """The thread that a new episode becomes a part of: the one of its coin, else the market's."""
    fitting = [
        thread
        for thread in threads
        if thread.ended is None
        and thread.theme == theme_of(alert)
        and thread.subject in (alert.asset, ALL)
        and now - thread.grew <= JOIN
        and now - thread.began <= LONGEST
    ]
    own = [thread for thread in fitting if thread.subject == alert.asset]
    return max(own or fitting, key=lambda thread: thread.began, default=None)


def market_of(threads: Iterable[Thread], begun: Thread, now: Ms) -> list[Thread]:
    """The threads that ``begun``, a new one, is one event of the market with; []: it is none."""
    within = JOIN if begun.subject == ALL else MARKET_WITHIN
    same = coins_of(threads, begun.theme, now, within)
    if begun.subject == ALL:
        return same
    return same if len({thread.subject for thread in same}) >= MARKET_FROM else []


def coins_of(threads: Iterable[Thread], theme: str, now: Ms, within: Ms = JOIN) -> list[Thread]:
    """The threads of coins that go on, and have grown lately."""
    return [
        thread
        for thread in threads
        if thread.theme == theme
        and thread.ended is None
        and thread.subject != ALL
        and now - thread.grew <= within
    ]


def rings_again(
    thread: Thread, alert: Alert, now: Ms, majors: Collection[str] = frozenset()
) -> Ms | None:
    """When a thread that was posted rings because of ``alert``, the first time being ``now``; None:
    it does not.

    It does at a higher level than before; when one of ``majors`` becomes critical in it that was
    not, whatever rang for others; and at critical when that gets much worse. Of other coins in an
    event of the market, one more that is critical is not much worse.
    """
    if alert.level < Level.ALERT:
        return None
    if alert.level > thread.rung:
        return now
    if alert.level < Level.CRITICAL:
        return None
    major = alert.asset in majors
    if major and thread.subject == ALL and alert.asset not in thread.critical:
        return max(now, thread.rang_at + MAJOR_AFTER)
    alone = major or thread.subject == alert.asset
    if not alone and alert.turn is not Turn.WORSE:
        return None
    last = thread.worse.get(alert.asset) if major else thread.worse_at
    if last is not None and now - last < WORSE_EVERY:
        return None
    window = _window(alert.metric)
    wait = WORSE_AFTER if window is None else min(WORSE_AFTER, window // 2)
    return max(now, thread.rang_at + wait)


def further_after(thread: Thread, alert: Alert, now: Ms) -> Ms | None:
    """When a further post of a thread that was posted tells ``alert``, where posts cannot be edited
    and it does not ring; None: the next post does, whatever that is for.

    It does of all that begins, rises or gets much worse at critical; below, of what gets much worse
    while nothing is critical.
    """
    if alert.level < Level.CRITICAL and (
        alert.level < thread.level or alert.level < Level.ALERT or alert.turn is not Turn.WORSE
    ):
        return None
    at = max(now, thread.posted_at + FURTHER_EVERY[alert.level])
    return at if thread.further_at is None else min(at, thread.further_at)
