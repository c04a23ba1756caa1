"""What a service manager is told: that Lowtide has started, that it is well, that it stops.

The protocol is systemd's (sd_notify(3)): datagrams to the socket in ``$NOTIFY_SOCKET``. Where there
is none, nothing is sent.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import MutableMapping

import structlog

from streams.bus.health import Health

log = structlog.get_logger()

LOOK_S = 10.0
_SHOWN_AFTER_S = 30.0
_SHOWN = 200


class ServiceManager:
    """One that has started this process. ``address``: of its socket, "" for none.

    ``watchdog_s``: it ends and starts this process anew if it hears nothing for so long; None: it
    does not.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._look_s = LOOK_S if watchdog_s is None else min(LOOK_S, watchdog_s / 3)
        self._watched = watchdog_s is not None
        self._stuck: list[str] = []

    @classmethod
    def of(cls, env: MutableMapping[str, str]) -> "ServiceManager":
        """The one that ``env`` tells of; it is taken out, since our children do not report."""
        address = env.pop("NOTIFY_SOCKET", "")
        usec, pid = env.pop("WATCHDOG_USEC", ""), env.pop("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        watched = ours and usec.isdecimal() and int(usec) > 0
        return cls(address, int(usec) / 1e6 if watched else None)

    def ready(self) -> None:
        """Everything has been started."""
        self._send("READY=1")

    def stopping(self) -> None:
        """From now on nothing is done but to stop."""
        self._send("STOPPING=1")

    async def run(self, health: Health) -> None:
        """Say how it goes, and that it is well while nothing is stuck; never returns."""
        while self._address:
            self.look(health)
            await asyncio.sleep(self._look_s)

    def look(self, health: Health) -> None:
        """Say once how it goes."""
        stuck = health.stuck()
        if stuck != self._stuck and stuck and self._watched:
            log.error("no life sign is given to the service manager", why="; ".join(stuck))
        self._stuck = stuck
        failing = [f"{who}: {why}" for who, why in health.lasting(_SHOWN_AFTER_S).items()]
        words = "; ".join(stuck or failing) or "all roles are at work"
        status = f"STATUS={' '.join(words.split())[:_SHOWN]}"
        self._send(status if stuck or not self._watched else f"{status}\nWATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # without waiting: a manager that does not read must not hold us up
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out,
        ):
            out.sendto(text.encode(), self._address)
