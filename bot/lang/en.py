"""English."""

from datetime import UTC, datetime

from bot.lang import en_answers, en_page
from bot.lang.numbers import MINUS, significant, significant_below, trimmed
from bot.lang.words import Words
from streams.durations import HOUR
from streams.events import Ms

PHRASES = {
    # First lines. The bold part must make sense alone, on a lock screen.
    "funding.open": "<b>{asset} funding {state}: {rate}% / 8h</b> ({apr}% a year)",
    "funding.up": "<b>{asset} funding {state}, now {level}: {rate}% / 8h</b> ({apr}% a year)",
    "funding.worse": "<b>{asset} funding even {further}: {rate}% / 8h</b> ({apr}% a year)",
    "funding.close": "<b>{asset} funding {back}: {rate}% / 8h.</b>",
    "predicted.open": "<b>{asset} predicted funding {state}: {rate}% / 8h</b> ({apr}% a year)",
    "predicted.up": (
        "<b>{asset} predicted funding {state}, now {level}: {rate}% / 8h</b> ({apr}% a year)"
    ),
    "predicted.worse": (
        "<b>{asset} predicted funding even {further}: {rate}% / 8h</b> ({apr}% a year)"
    ),
    "predicted.close": "<b>{asset} predicted funding {back}: {rate}% / 8h.</b>",
    "oi.open": "<b>{asset} open interest {pct}%{window}</b>{closed}{cause}",
    "oi.up": "<b>{asset} open interest {pct}%{window}, now {level}</b>{closed}{cause}",
    "oi.worse": "<b>{asset} open interest {further}, {pct}%{window}</b>{closed}{cause}",
    "oi.close": "<b>{asset} open interest steadier: {pct}%{window}.</b>",
    "depth.open": "<b>{asset} depth{band}: {total}{pct}% of normal</b>",
    "depth.up": "<b>{asset} depth{band} now {level}: {total}{pct}% of normal</b>",
    "depth.worse": "<b>{asset} depth{band} even {further}: {total}{pct}% of normal</b>",
    "depth.close": "<b>{asset} depth{band} back: {total}{pct}% of normal.</b>",
    "liq.open": "<b>{asset} liquidations ≥ {usd}{window}</b>{mostly}",
    "liq.up": "<b>{asset} liquidations now {level}: ≥ {usd}{window}</b>{mostly}",
    "liq.worse": "<b>{asset} liquidations go on: ≥ {usd}{window}</b>{mostly}",
    "liq.close": "<b>{asset} liquidations ease: ≥ {usd}{window}.</b>",
    "liq.close_none": "<b>{asset} liquidations over: none reported{window}.</b>",
    "price.open": "<b>{asset} price {pct}%{window}</b>{ends}{cause}",
    "price.up": "<b>{asset} price {pct}%{window}, now {level}</b>{ends}{cause}",
    "price.worse": "<b>{asset} price {further}, {pct}%{window}</b>{ends}{cause}",
    "price.close": "<b>{asset} price steadier: {pct}%{window}.</b>",
    "total.open": "<b>Whole-market open interest {pct}%{window}</b>{closed}",
    "total.up": "<b>Whole-market open interest {pct}%{window}, now {level}</b>{closed}",
    "total.worse": "<b>Whole-market open interest {further}, {pct}%{window}</b>{closed}",
    "total.close": "<b>Whole-market open interest steadier: {pct}%{window}.</b>",
    "breadth.open": "<b>Funding negative on {pct}% of perps</b>{count}",
    "breadth.up": "<b>Funding negative on {pct}% of perps, now {level}</b>{count}",
    "breadth.worse": "<b>Funding negative on ever more perps, {pct}%</b>{count}",
    "breadth.close": "<b>Funding negative on only {pct}% of perps now.</b>",
    "usual.open": "<b>{asset} {what} {value}{window}</b>{move}{cause}",
    "usual.up": "<b>{asset} {what} {value}{window}, now {level}</b>{move}{cause}",
    "usual.worse": "<b>{asset} {what} even further, {value}{window}</b>{move}{cause}",
    "usual.close": "<b>{asset} {what} nearer its normal: {value}{window}.</b>",
    "falls.open": "<b>Prices fall on {share}{window}</b>",
    "falls.up": "<b>Prices fall on {share}{window}, now {level}</b>",
    "falls.worse": "<b>Prices fall on ever more coins: {share}{window}</b>",
    "falls.close": "<b>The market is steadier: prices fall on {share}{window}.</b>",
    "cascade.open": "<b>{asset} {event}{within}{parts}</b>",
    "cascade.up": "<b>{asset} {event}, now {level}{parts}</b>",
    "cascade.worse": "<b>{asset} {event} goes on{parts}</b>",
    "cascade.close": "<b>{asset} {event} over.</b>",
    "other.open": "<b>{asset} {rule}: {value} {unit}</b>",
    "other.up": "<b>{asset} {rule} now {level}: {value} {unit}</b>",
    "other.worse": "<b>{asset} {rule} goes on: {value} {unit}</b>",
    "other.close": "<b>{asset} {rule} over: {value} {unit}.</b>",
    # Pieces of first lines.
    "level.1": "at watch level",
    "level.2": "at alert level",
    "level.3": "critical",
    "funding.negative": "negative",
    "funding.low": "low",
    "funding.high": "high",
    "funding.further_negative": "more negative",
    "funding.further_low": "lower",
    "funding.further_high": "higher",
    "funding.back_positive": "positive again",
    "funding.back": "back",
    "oi.fell": ": {usd} of positions closed",
    "oi.rose": ": {usd} of positions opened",
    "oi.further_below": "keeps falling",
    "oi.further_above": "keeps rising",
    "depth.further_below": "thinner",
    "depth.further_above": "thicker",
    "window": " in {window}",
    "depth.band": " ±{band}%",
    "depth.total": "{usd}, ",
    "liq.none": "none reported",
    "liq.longs": ", {pct}% longs",
    "liq.shorts": ", {pct}% shorts",
    "price.ends": ": {before} → {after}",
    "breadth.count": ": {negative} of {live}",
    "usual.price": "price",
    "usual.oi": "open interest",
    "usual.liq": "liquidations",
    "usual.move": ": {move}",
    "falls.share": "{pct}% of coins",
    "falls.count": "{fallen} of {expected} coins",
    "falls.at_least": "≥ {fallen} of {expected} coins",
    "cascade.within": " within {length}",
    # What is happening: of what is unclear, neither side is named.
    "cause": ", {cause}",
    "cause.unclear": "cause unclear",
    "cause.long_unwinding": "long unwinding",
    "cause.short_covering": "short covering",
    "cause.new_shorts": "new shorts",
    "cause.new_longs": "new longs",
    "cascade.event_unclear": "deleveraging",
    "cascade.event_long_unwinding": "deleveraging of longs",
    "cascade.event_short_covering": "short squeeze",
    "cascade.event_new_shorts": "turmoil with new shorts",
    "cascade.event_new_longs": "turmoil with new longs",
    # One condition of a composite.
    "part.oi": "OI {value}{window}",
    "part.liq": "liquidations {value}{window}",
    "part.longs": "longs liquidated ≥ {usd}{window}",
    "part.shorts": "shorts liquidated ≥ {usd}{window}",
    "part.depth": "depth {value} of normal",
    "part.price": "price {value}{window}",
    "part.funding": "funding {value}% / 8h",
    "part.predicted": "predicted funding {value}% / 8h",
    "part.other": "{rule} {value}",
    "worst": " (worst {value} at {time})",
    # An event of several alerts.
    "thread.coin": "<b>{asset}{turn}: {values}</b>{cause}",
    "thread.event": "<b>{asset} {event}{turn}: {values}</b>",
    "thread.head": "<b>{subject}{event}{turn}: {value}</b>",
    "thread.market": "The market",
    "thread.up": ", now {level}",
    "thread.worse": ", much worse",
    "thread.worst": "{now} (worst {worst})",
    "thread.over": "over: {list}",
    "thread.total": "whole-market OI {value}{window}",
    "thread.breadth": "funding negative on {value} of perps",
    "thread.falls": "prices fall on {value} of coins{window}",
    "thread.name.oi": "OI",
    "thread.name.liq": "liquidations",
    "thread.name.depth": "depth",
    "thread.name.price": "price",
    "thread.name.funding": "funding",
    "thread.name.predicted": "predicted funding",
    "thread.name.other": "{rule}",
    "thread.all": "alerts",
    "thread.coin_over": "<b>{asset} {event} over</b>{lasted}. At worst: {values}.",
    "thread.market_over": "<b>{subject}{event}: over</b>{lasted}. At worst: {value}.",
    "thread.lasted": ", after {length}",
    "thread.price_then": "Price then {price}.",
    "thread.since": "Since then {list}.",
    "thread.change": "{change} in {window}",
    "tag.market": "#market",
    # First lines of lists, after the number of coins.
    "digest.count": "{count} coins",
    "digest.funding": "<b>{coins}: funding {state}</b>",
    "digest.predicted": "<b>{coins}: predicted funding {state}</b>",
    "digest.oi": "<b>{coins}: open interest {moves}{window}</b>{total}{cause}",
    "digest.depth": "<b>{coins}: depth {moves}</b>{total}",
    "digest.liq": "<b>{coins}: liquidations{window}</b>{total}",
    "digest.price": "<b>{coins}: price {moves}{window}</b>{cause}",
    "digest.usual": "<b>{coins}: unusual moves{window}</b>",
    "digest.cascade": "<b>{coins}: {event}</b>",
    "digest.other": "<b>{coins}: {rule}</b>",
    "digest.falls": "falls",
    "digest.rises": "rises",
    "digest.thin": "thin",
    "digest.thick": "above normal",
    "digest.oi_closed": ", {usd} of positions closed in all",
    "digest.oi_opened": ", {usd} of positions opened in all",
    "digest.depth_lost": ", {usd} less than normal in all",
    "digest.liq_sum": ", ≥ {usd} in all",
    # Lines of digests.
    "digest.item": "{asset} {value}",
    "digest.rates": "{list} (% per 8h)",
    "digest.normal": "{list} of normal",
    "digest.values": "{list}",
    "digest.cascade_item": "{asset}: {value}",
    "digest.rest": "{count} more: {list}",
    # What follows a closing first line, on the same line.
    "lasted": "The alert lasted {length}",
    "lasted.thin": "Thin for {length}",
    "extreme.low": ", lowest {value} at {time}.",
    "extreme.high": ", highest {value} at {time}.",
    "extreme.peak": ", peak {value} at {time}.",
    "lasted.cascade": "It lasted {length}. At worst: {parts}.",
    "lasted.bare": "It lasted {length}.",
    # Lines of facts, one fact each.
    "length.unknown": "an unknown time",
    "began": "Began {time}, {length} ago.",
    "funding.weighted": "OI-weighted, {count} venues: {list} (% per 8h)",
    "funding.single": "{venue} alone.",
    "funding.single_interval": "{venue} alone: {rate}% per {hours}h.",
    "funding.predicted": "Next settlement predicted at {rate}% / 8h.",
    "funding.payers_short": "Shorts now pay longs.",
    "funding.payers_long": "Longs now pay shorts.",
    "funding.will_short": "An estimate: at this rate shorts will pay longs.",
    "funding.will_long": "An estimate: at this rate longs will pay shorts.",
    "price": "Price {price}.",
    "price.moved": "Price {before} → {price} ({pct}%).",
    "oi.coins": "{before} → {after} {asset}.",
    "oi.usd_with": " In USD {total}, of which {price} is only price.",
    "oi.usd_against": " In USD {total}, since price moved it by {price}.",
    "oi.by_venue": "{list}",
    "depth.sides": "Bids {bids}, asks {asks}. Normal {normal} ({median}).",
    "depth.median": "median of {window}",
    "depth.median_hour": "median of {window} at {hour} UTC",
    "depth.by_venue": "{list} of normal.",
    "depth.live": "{live} of {expected} books live.",
    "depth.spread": "Spread {spread} bp.",
    "liq.sides": "Longs {longs}, shorts {shorts}, in {orders}{share}.",
    "liq.orders_one": "1 order",
    "liq.orders_many": "{count} orders",
    "liq.share": "; {pct}% of open interest",
    "liq.largest": "Largest order {usd} on {venue} at {price}.",
    "liq.throttled": (
        "Lower bound: {venue} reports at most one order a second (feed {pct}% full)."
    ),
    "liq.not_available_one": "{venues} publishes no liquidations.",
    "liq.not_available_many": "{venues} publish no liquidations.",
    "price.oi": "Open interest {usd}.",
    "total.before": "It was {usd}.",
    "breadth.lowest": "Lowest: {list} (% per 8h)",
    "falls.counted": "Counted from {list}.",
    "falls.all": "{pct}%",
    "falls.others": "others {pct}%",
    "falls.known": "The change is known of {live} of {expected} coins only.",
    "contracts": "{live} of {expected} contracts live.",
    "cascade.chain": "{list}",
    "cascade.closed": "{usd} of positions closed in {window}.",
    "cascade.first": "First in our record (from {date}).",
    "cascade.earlier_one": "1 before in our record (from {date}), on {last}.",
    "cascade.earlier_many": "{count} before in our record (from {date}), the last on {last}.",
    "cascade.no_data": "Could not be judged: {list}.",
    "record.since": "{what} since {date} ({days}).",
    "record.never": "{what} in our record (from {date}).",
    "record.first_negative": "First negative",
    "record.first_positive": "First positive",
    "record.longest_negative": "Negative settlements in a row: {run}, the most",
    "record.longest_positive": "Positive settlements in a row: {run}, the most",
    "record.fall": "Largest{window} fall",
    "record.rise": "Largest{window} rise",
    "record.window": " {window}",
    "record.liq": "Most{window}",
    "record.thin": "Thinnest",
    "record.thick": "Thickest",
    "record.lowest": "Lowest",
    "record.highest": "Highest",
    "opinion.kept": "Silent, though {level}: {list}.",
    "opinion.value": "{name} {value} (asked: {asked})",
    "opinion.unknown": "{name} not known (asked: {asked})",
    "missing": "ex-{venues}: no live data there.",
    "held_one": "1 alert since the last post was held back (cool-down).",
    "held_many": "{count} alerts since the last post were held back (cool-down).",
    # The last line.
    "tag.funding": "#funding",
    "tag.predicted": "#funding",
    "tag.oi": "#OI",
    "tag.depth": "#depth",
    "tag.liq": "#liquidations",
    "tag.price": "#price",
    "tag.total": "#market #OI",
    "tag.breadth": "#market #funding",
    "tag.usual": "#unusual",
    "tag.falls": "#market #price",
    "tag.cascade": "#cascade",
    "tag.other": "#{rule}",
    "settled": "settled {time}",
    "estimate": "estimate of {time}",
    "held": "+{count} held",
    # What delivery adds to a post.
    "late": "⏱ {length} late",
    "left_out": "⏳ +{count} older left out: {names}",
    "again": "↻ Sent again, perhaps twice (no. {id})",
    "collapsed": "⏳ <b>{count} posts waited while Telegram asked for a pause</b>",
    "rush": "🔴 <b>{count} critical posts at once</b>",
    "goes_on.next": "↪ As of {time}. It goes on in the next post.",
    "goes_on.unwatched": "⚪ As of {time}. It is not watched any more.",
    "goes_on.market": "↪ As of {time}. It goes on in the post of the whole market.",
    # Notices for operators. They never look like an alert.
    "notice": "⚪ <i>Data: {text} This is not a market signal.</i>",
    "notice.down": "{venue} {kinds} silent since {time}{reason}.{effect}",
    "notice.up": "{venue} {kinds} back, silent for {length}.",
    "notice.no_tick": "no tick since {time}, so no rule can judge{reason}.",
    "notice.tick": "ticks are back after {length}.",
    "notice.effect": " Totals leave {venue} out on both sides of every comparison.",
    "notice.reason": " ({reason})",
    "notice.and": " and ",
    "notice.more": " and {count} more",
    "fault.contract_missing": (
        "{venue} no longer lists {subjects}{reason}. What is listed again is watched again at once."
    ),
    "fault.contract_missing.over": "{venue} lists {subjects} again, after {length}.",
    "fault.contract_settling": (
        "{venue} is ending {subjects}{reason}. What happens there is no longer counted."
    ),
    "fault.contract_settling.over": "{venue} trades {subjects} again.",
    "fault.asset_not_listed": "no venue lists {subjects}, which the configuration names{reason}.",
    "fault.asset_not_listed.over": "{subjects} is listed now.",
    "fault.rows_unreadable": (
        "{venue} sends rows that cannot be read; only what they say is unknown{reason}."
    ),
    "fault.rows_unreadable.over": "all rows of {venue} can be read again.",
    "fault.names_refused": (
        "{venue} lists contracts whose names cannot be shown; they are left out{reason}."
    ),
    "fault.names_refused.over": "{venue} lists no unfit names any more.",
    "fault.listing_empty": (
        "{venue} lists nothing of what is to be watched{reason}. It is asked again every half"
        " minute."
    ),
    "fault.listing_empty.over": "{venue} lists contracts again, after {length}.",
    "fault.venue_unreached": "{venue} has not been reached since the start{reason}.",
    "fault.venue_unreached.over": "{venue} is reached, after {length}.",
    "fault.venue_lost": "nothing from {venue} for {length}{reason}: its market is not watched.",
    "fault.venue_lost.over": "{venue} is heard again, after {length}.",
    "fault.venue_failed": (
        "{venue} is not listened to because of an error in Lowtide{reason}. It is tried again; the"
        " log has the details."
    ),
    "fault.venue_failed.over": "{venue} is listened to again, after {length}.",
    "fault.ticker_shared": (
        "{subjects} is not the same coin everywhere{reason}. The odd one is left out."
    ),
    "fault.ticker_shared.over": "{subjects} is the same coin everywhere again.",
    "fault.clock_set_back": "the clock of this machine went back{reason}.",
    "fault.clock_set_ahead": "the clock of this machine went ahead{reason}.",
    "fault.clock_hole": "the clock of this machine went back{reason}, which nobody measured: "
    "what was seen before has no age any more and is left out.",
    "fault.clock_skewed": "the clock of this machine is not right{reason}.",
    "fault.clock_skewed.over": "the clock of this machine is right again, after {length}.",
    "fault.venue_clock_skewed": "the clock of {venue} is not right{reason}.",
    "fault.venue_clock_skewed.over": "the clock of {venue} is right again, after {length}.",
    "alarm.on": "🔧 Lowtide itself: {who} does not work: {why}",
    "alarm.over": "🔧 Lowtide itself: {who} works again.",
    "fault.redis_unsafe": "Redis may lose what Lowtide has saved{reason}.",
    "fault.state_lost": ("what the {subjects} role had saved could not all be taken over{reason}."),
    "kind.all": "feeds",
    "kind.funding": "funding",
    "kind.open_interest": "open interest",
    "kind.liquidation": "liquidations",
    "kind.depth": "books",
    "kind.price": "prices",
    "kind.volume": "volume",
    "trouble.off": "⚪ <i>Delivery: nothing is sent to {chat} for now: {reason}</i>",
    "trouble.stuck": (
        "⚪ <i>Delivery: {chat} has taken nothing for 2 minutes: {reason}. What waits is tried "
        "again while it is news.</i>"
    ),
    "trouble.flows": "⚪ <i>Delivery: {chat} takes posts again.</i>",
    "trouble.failed": "⚪ <i>Delivery: {alert} was not posted to {chat}: {reason}</i>",
    "trouble.topic": (
        "⚪ <i>Delivery: what is for a topic of {chat} goes to its topic General for now:"
        " {reason}</i>"
    ),
    "trouble.moved": (
        "⚪ <i>Delivery: {chat} is now {reason}; it is followed. Put the new number into "
        "the configuration.</i>"
    ),
    "settings.kept": "⚪ <i>Configuration not taken over, the old one stays: {reason}</i>",
    "settings.taken": "⚪ <i>Configuration taken over: {reason}</i>",
}

_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def _scaled(value: float, digits: int, smallest: float) -> str:
    rounded = significant(value, digits)
    for scale, letter in _SCALES:
        if scale >= smallest and rounded >= scale:
            return trimmed(rounded / scale, digits) + letter
    return trimmed(rounded, digits)


def usd(value: float) -> str:
    """$5.37B, $226M, $64.2M, $90.4K, $512: three digits."""
    return "$" + _scaled(abs(value), 3, 1e3)


def usd_at_least(value: float) -> str:
    """The same of a lower bound, which rounding must not raise: $65.1M for 65.19 million."""
    return usd(significant_below(abs(value), 3))


def signed_usd(value: float) -> str:
    """−$7.35B, +$400M."""
    return (MINUS if value < 0 else "+") + usd(value)


def coins(value: float) -> str:
    """612,400; 12.34; 4.107B: four digits."""
    return _scaled(value, 4, 1e9)


def price(value: float) -> str:
    """$112,400; $34.12; $0.171; $0.0000123."""
    if value >= 1_000:
        return f"${value:,.0f}"
    return f"${value:.2f}" if value >= 1 else "$" + trimmed(value, 4)


def length(ms: Ms) -> str:
    """1 h 12 min; 42 min; 16 h; 2 d 3 h; 45 s: the two largest units."""
    seconds = ms // 1000
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
    parts = [(days, "d"), (hours, "h"), (0 if days else rest, "min")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def window(ms: Ms) -> str:
    """1h, 24h, 14d as traders write them, but 10 min."""
    hours = ms // HOUR
    if ms % HOUR or not hours:
        return length(ms)
    return f"{hours // 24}d" if hours % 24 == 0 and hours > 24 else f"{hours}h"


def clock(ms: Ms) -> str:
    """09:42 UTC."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M} UTC"


def bare_clock(ms: Ms) -> str:
    """09:42."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M}"


def date(ms: Ms) -> str:
    """3 Oct 09:42 UTC."""
    when = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{when.day} {_MONTHS[when.month - 1]} {when:%H:%M} UTC"


def day(ms: Ms, now: Ms) -> str:
    """23 Aug; 2 Mar 2025 if that is not this year."""
    when, today = datetime.fromtimestamp(ms / 1000, UTC), datetime.fromtimestamp(now / 1000, UTC)
    text = f"{when.day} {_MONTHS[when.month - 1]}"
    return text if when.year == today.year else f"{text} {when.year}"


def days(count: int) -> str:
    """41 days; 1 day."""
    return "1 day" if count == 1 else f"{count:,} days"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

WORDS = Words(
    phrases=PHRASES | en_answers.PHRASES | en_page.PHRASES,
    usd=usd,
    usd_at_least=usd_at_least,
    signed_usd=signed_usd,
    coins=coins,
    price=price,
    length=length,
    window=window,
    clock=clock,
    bare_clock=bare_clock,
    date=date,
    day=day,
    days=days,
)
