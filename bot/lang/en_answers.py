"""English: what commands are answered with."""

PHRASES = {
    # The menu that Telegram shows, and the lines of /help. No HTML in these.
    "ask.menu.status": "what runs, what is heard, what is posted",
    "ask.menu.top": "what stands out now",
    "ask.menu.funding": "funding rates now",
    "ask.menu.oi": "changes of open interest now",
    "ask.menu.depth": "order-book depth now",
    "ask.menu.liq": "reported liquidations now",
    "ask.menu.rules": "what is judged by what",
    "ask.menu.why": "how an alert came about, or why there is none",
    "ask.menu.subscribe": "get alerts in private",
    "ask.menu.unsubscribe": "get fewer of them, or none",
    "ask.menu.subscriptions": "what you get in private",
    "ask.menu.help": "all commands",
    "ask.menu.start": "what this bot is",
    "ask.menu.silence": "keep a rule quiet on an asset for a while",
    "ask.menu.unsilence": "what is silenced, or end it",
    "ask.menu.test": "post a test message to every chat and webhook",
    # What is no command, and who may not ask.
    "ask.unknown_bare": "A command is a word after the slash: /help lists them all.",
    "ask.unknown": "There is no command /{name}: /help lists them all.",
    "ask.unknown_near": "There is no command /{name}. Did you mean /{near}?",
    "ask.usage": (
        "Write it like this: <code>{usage}</code>\nWhat is in brackets may be left out. /rules "
        "lists the rules; an asset is written like BTC."
    ),
    "ask.too_long": "That is too long for a command: at most {most} characters.",
    "ask.slow": "That was a lot in one minute. I answer again in a minute.",
    "ask.sorry": "That cannot be done: {text}.",
    "ask.redis": "I cannot do that now: {reason}. Please ask again in a moment.",
    "ask.failed": "Something went wrong on my side; it is in the log.",
    "ask.no.stranger": (
        "Sorry, this bot answers its operators only. (Your Telegram user number is "
        "<code>{user}</code>; operators are listed in <code>operators.users</code>.)"
    ),
    "ask.no.change": "Sorry, only operators may change something.",
    "ask.no.not_private": "Subscriptions are private: write that to me in our own chat.",
    "ask.no.subscribers": "Sorry, this bot has no private subscriptions.",
    "ask.no.anonymous": "I cannot see who you are: write as yourself, not as the group.",
    # What all answers share.
    "ask.item": "{text}",
    "ask.rate": "{rate}% / 8h",
    "ask.more": "… {count} more",
    "ask.and_more": "{list} and {count} more",
    "ask.too_much": "The answer is too long to be sent.",
    "ask.as_of": "As of {time}.",
    "ask.market": "Whole-market",
    "ask.redis_full": "<b>Redis cannot be written to</b>, so nothing new is told: {reason}",
    "ask.stale.no_rules": "The rules role is not running, so nobody knows what is so now.",
    "ask.stale.soon": "The rules have only just started: ask again in a minute.",
    "ask.stale.old": (
        "The rules have had no data for {length}, so nobody knows what is so now. /status says "
        "what is heard."
    ),
    "ask.not_watched": "{asset} is not watched.",
    "ask.not_watched_near": "{asset} is not watched. Did you mean {near}?",
    "ask.no_such_rule": "There is no rule {rule}: /rules lists them all.",
    "ask.no_such_rule_near": "There is no rule {rule}. Did you mean {near}?",
    # /funding, /oi, /depth, /liq, /top
    "ask.head.funding": "<b>{asset} funding {rate}% / 8h</b> ({apr}% a year)",
    "ask.head.predicted": "<b>{asset} predicted funding {rate}% / 8h</b> ({apr}% a year)",
    "ask.head.no_liq": "<b>{asset} liquidations: none reported{window}</b>",
    "ask.settled": "Settled {time}, every {hours}h.",
    "ask.cannot": "<b>{asset} {name}:</b> cannot be judged now{why}.",
    "ask.lack.feeds": " (no live {kinds} from {venues})",
    "ask.lack.no_streams": " (the streams role is not running)",
    "ask.lack.days": " (it takes days of watching first)",
    "ask.name.funding": "funding, % / 8h",
    "ask.name.predicted": "predicted funding, % / 8h",
    "ask.name.oi": "open interest in {window}",
    "ask.name.depth": "depth ±{band}%, % of the last hours",
    "ask.name.depth_hour": "depth ±{band}%, % of normal at this hour",
    "ask.name.liq": "liquidations in {window}",
    "ask.name.price": "price in {window}",
    "ask.name.breadth": "funding",
    "ask.name.usual_price": "price in {window}, in usual moves (σ)",
    "ask.name.usual_oi": "open interest in {window}, in usual moves (σ)",
    "ask.name.usual_liq": "liquidations in {window}, × normal",
    "ask.name.falls": "coins that fall in {window}",
    "ask.name.total": "open interest in {window}",
    "ask.name.other": "value",
    "ask.lowest_first": "lowest first",
    "ask.highest_first": "highest first",
    "ask.list": "<b>{name}</b>, {way}, of {count}:",
    "ask.list_none": "<b>{name}</b>:",
    "ask.unknown_ones": "Cannot be judged now{why}: {list}",
    "ask.no_rule": "No rule looks at that, so there is nothing to tell for /{command}.",
    "ask.no_rule_on": "No rule looks at that of {asset}: nothing to tell for /{command}.",
    "ask.top.open": "<b>Going on now</b>",
    "ask.top.none": "<b>Nothing is going on now:</b> no rule is at any of its levels.",
    "ask.episode.worst": "{value} (worst {worst})",
    "ask.episode": "{mark} {asset} {rule} {value}{cause}, since {time}",
    # /start, /help
    "ask.start": (
        "I tell when leverage leaves the crypto derivatives market: funding turns negative, open "
        "interest drops, depth thins, liquidations cascade. /top says what stands out now, /help "
        "lists what else I answer."
    ),
    "ask.start.subscribe": (
        "To get alerts here: <code>/subscribe oi_drop BTC ETH</code>, or "
        "<code>/subscribe * BTC</code> for every rule. /unsubscribe ends it."
    ),
    "ask.start.number": (
        "Your Telegram user number is <code>{user}</code>, should you run this bot: operators are "
        "listed in <code>operators.users</code>."
    ),
    "ask.help": "<b>You can ask</b>",
    "ask.help.changing": "<b>Operators can change</b>",
    "ask.help.line": "{usage} – {what}",
    # /status
    "ask.status": "<b>Lowtide</b>",
    "ask.status.runs": "{role}: running",
    "ask.status.unheard": "{role}: cannot report",
    "ask.status.gone": "{role}: <b>not running</b>",
    "ask.status.sees": (
        "The rules see what is {age} old: {known} of {all} values can be judged, {open} episodes "
        "are open."
    ),
    "ask.status.venue": "{venue}, {count} contracts: {feeds}",
    "ask.status.trouble": "{venue}: <b>cannot be reached</b>: {reason}",
    "ask.feed.up": "{kind} up",
    "ask.feed.partly": "{kind} {up} up and <b>{down} down</b>",
    "ask.feed.down": "{kind} <b>down</b>",
    "ask.feed.none_yet": "{kind} no data yet",
    "ask.feed.not_available": "{kind} not available",
    "ask.status.posts": (
        "Posts since the start: {sent} sent, {refused} refused, {uncertain} uncertain, {queued} "
        "waiting."
    ),
    "ask.status.off": "Nothing is sent to {chat} for now: {reason}",
    "ask.status.not_ready": "{chat} is not ready, posts waiting: {queued}",
    "ask.status.waits": "{chat} gets nothing at the moment, posts waiting: {queued}",
    "ask.status.critical": ", a critical one for {length}",
    "ask.status.reason": ": {reason}",
    "ask.status.no_silence": "Nothing is silenced.",
    "ask.status.silences": "<b>Silenced</b>",
    "ask.status.subscribers": "Subscribers: {count} of at most {most}.",
    # /rules
    "ask.rules": "<b>What is judged by what</b>. Where each number stands: lowtide show BTC",
    "ask.rules.none": "There are no rules.",
    "ask.rule": "<b>{rule}</b>: {metric} {fires} the level{hold}",
    "ask.rule.shadow": "<b>{rule}</b>: {metric} {fires} the level{hold}, never posted",
    "ask.rule.row": "{name}: {levels}",
    "ask.rule.composite": "<b>{rule}</b>: {text}",
    # /why
    "ask.why.open": "{mark} <b>{rule} on {asset}</b>: open since {time}, for {length}",
    "ask.why.over": "{mark} <b>{rule} on {asset}</b>: opened {time}, over after {length}",
    "ask.why.level": "{metric} was {fires} {level} = {threshold} ({origin}).",
    "ask.why.place": "{place}",
    "ask.why.changed": "{place}, which says {value} by now",
    "ask.why.gone": "the configuration has no such level any more",
    "ask.why.hold": "It had to last {hold} first ({origin}).",
    "ask.why.opinions": "It asks besides: {list} ({origin}).",
    "ask.why.cause": "What was happening: {cause}.",
    "ask.why.causes": "It counts only while it is {causes} ({origin}).",
    "ask.why.cause_unknown": "That was not known, and what is critical is told all the same.",
    "ask.why.kept": "That did not agree, so it is told at {level} and not at {alone}.",
    "ask.why.composite": "At least {needed} of its conditions were reached within {within}.",
    "ask.why.extreme": "At worst {value}, at {time}.",
    "ask.why.facts": "<b>At its last turn</b>",
    "ask.why.used": "Used: {venues}.",
    "ask.why.missing": "Left out for want of live data: {venues}.",
    "ask.why.turns": "<b>Turns</b>",
    "ask.why.turn": "{time} {turn} at {level}{value} – {fate}",
    "ask.why.left_out": "… {count} more",
    "ask.turn.open": "opened",
    "ask.turn.up": "rose",
    "ask.turn.worse": "got worse",
    "ask.turn.close": "ended",
    "ask.fate.posted": "posted",
    "ask.fate.edited": "told by an edit of its post",
    "ask.fate.edited_waits": "told by an edit, a post of its own waits until {time}",
    "ask.fate.waits": "waits until {time}",
    "ask.fate.quiet": "waits for the end of the quiet hours at {time}",
    "ask.fate.queued": "waits to be sent",
    "ask.fate.uncertain": "perhaps posted, it is looked for",
    "ask.fate.failed": "not posted: {reason}",
    "ask.fate.held": "held back: the hour had enough posts",
    "ask.fate.silenced": "not posted: silenced",
    "ask.fate.merged": "not posted: a later turn or another window is told in its place",
    "ask.fate.over": "not posted: the episode was over before its opening was told",
    "ask.fate.unknown": "not known any more whether it was posted",
    "ask.fate.nobody": "for no chat",
    "ask.fate.chats": "{fate} ({count})",
    "ask.fate.hidden": "left to {composite}, which tells how bad it gets",
    "ask.fate.shadow": "not posted: the rule has post = false",
    "ask.fate.unsaid": "not posted: its opening was not",
    "ask.fate.cooldown": "held back: too soon after the last post, and not worse",
    "ask.why.chats": "For: {chats}",
    "ask.why.not_chats": "Left out by the rules, assets or level of: {chats}",
    "ask.why.silenced": "It is silenced now.",
    "ask.why.silenced_critical": "It is silenced now, but what is critical is told all the same.",
    "ask.why.no_id": "There is no alert of that id any more: they are kept for {days} days.",
    "ask.why.is_rule": "{rule} is a rule. With the coin you mean: /why {rule} BTC",
    "ask.why.none": "There was no episode{rule} on {asset} in the last 14 days.",
    "ask.why.none_since": (
        "There was no episode{rule} on {asset} since {time}; before that it was not watched."
    ),
    "ask.why.of_rule": " of {rule}",
    "ask.why.rule": "{rule}:",
    "ask.why.distance": "{level} is {fires} {threshold} ({place})",
    # /silence, /unsilence, /test
    "ask.silenced": "Silenced: {rule} on {asset} until {until} ({length}).",
    "ask.silenced.only_critical": (
        "{rule} is always critical, and what is critical is told all the same: no silence can keep"
        " it quiet."
    ),
    "ask.silenced.critical": "What is critical is told all the same.",
    "ask.unsilenced": "No longer silenced: {rule} on {asset}.",
    "ask.unsilenced.none": "{rule} on {asset} is not silenced.",
    "ask.testing": "<b>Test messages</b>",
    "ask.tell.silenced": "⚪ <i>{who} silenced {rule} on {asset} until {until} ({length}).</i>",
    "ask.tell.unsilenced": "⚪ <i>{who} ended the silence of {rule} on {asset}.</i>",
    "ask.tell.over": "⚪ <i>The silence of {rule} on {asset} is over (it was set by {who}).</i>",
    "ask.tell.test": "⚪ <i>{who} posted test messages to every chat and webhook.</i>",
    # /subscribe, /unsubscribe, /subscriptions
    "ask.subscribed": "<b>You get in private</b>",
    "ask.subscribed.line": "{rule}: {assets}",
    "ask.every_rule": "every rule",
    "ask.every_asset": "every asset",
    "ask.subscribed.ended": "You get nothing in private any more.",
    "ask.subscribed.nothing": "You get nothing in private; /subscribe changes that.",
    "ask.subscribed.not_that": "You did not subscribe to that.",
    "ask.subscribed.full": "Sorry, there are {most} subscribers already, and no room for more.",
    # The message that lowtide send-test and /test post.
    "test.message": "⚪ <b>Lowtide: this is a test.</b> Alerts will come here.",
}
"""The phrases by their keys."""
