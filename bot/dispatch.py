"""Who is told what. Pure. For now one chat is told everything that is to be posted, in order."""

from collections.abc import Iterable

import msgspec

from rules.alerts import Alert


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One alert for one chat; ``chat`` None: for whoever reads the console."""

    alert: Alert
    chat: int | str | None


def plan(alerts: Iterable[Alert], chat: int | str | None) -> list[Delivery]:
    """The deliveries of ``alerts``. The engine has decided which are posted, closes included."""
    return [Delivery(alert=alert, chat=chat) for alert in alerts if alert.post]
