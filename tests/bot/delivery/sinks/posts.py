"""A post as Telegram gets it."""

FUNDING = (
    "🟠 <b>BTC funding negative: −0.0031% / 8h</b> (−3.4% a year)\n"
    "First negative since 23 Aug (41 days). OI-weighted, 4 venues.\n"
    "Price $112,400, 24h −1.8%. Shorts now pay longs.\n"
    '#BTC #funding · settled <tg-time unix="1791014400" format="t">08:00 UTC</tg-time>'
)
