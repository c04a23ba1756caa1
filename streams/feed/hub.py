"""All venues together: what is listened to, and how they are doing."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec

from streams.clock import Clock
from streams.events import (
    SPOT_KINDS,
    AnyEvent,
    FaultCode,
    FeedState,
    Instrument,
    Kind,
    Liquidation,
    Ms,
    fault,
)
from streams.feed.backfill import Known
from streams.feed.client import VenueClient
from streams.feed.selection import Markets, choose_assets, unlisted, wants
from streams.feed.socket import Socket
from streams.feed.status import FeedCount, SilentContract, SocketStatus, VenueStatus
from streams.proxies import NO_PROXIES, Proxies
from streams.text import printable
from streams.venue import Venue

_WAIT_FOR_OTHERS_S = 8.0
"""How long a venue waits for the other listings, so that the tail is ranked over all of them."""


class VenueAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A venue to listen to, where it is (None: where the venue itself says), the proxies that lead
    there, and patterns of symbols that are left out."""

    venue: Venue
    websocket: str | None = None
    rest: str | None = None
    proxies: Proxies = NO_PROXIES
    leave_out: tuple[str, ...] = ()


class Hub:
    """The clients of all venues, which agree on the assets to watch."""

    def __init__(
        self,
        places: Sequence[VenueAddress],
        markets: Markets,
        publish: Callable[[AnyEvent], None],
        clock: Clock,
        known: Known | None = None,
    ) -> None:
        """``known``: see ``VenueClient``."""
        self.clients = [
            VenueClient(
                place.venue,
                place.websocket,
                place.rest,
                self._on_event,
                clock,
                proxies=place.proxies,
                wants=wants(markets, place.leave_out),
                known=known,
            )
            for place in places
        ]
        self._publish = publish
        self._feeds: dict[str, dict[tuple[Kind, str], tuple[FeedState, Ms]]] = {}
        """The state with which each feed went up or down last, and when by the steady clock."""
        self._markets = markets
        self._listed: dict[str, Sequence[Instrument]] = {}
        self._all_listed = asyncio.Event()
        self._chosen: tuple[str, ...] = ()
        self._frames: dict[int, tuple[Ms, int, float]] = {}
        self._unlisted: dict[str, bool] = {}
        self._now, self._seen = clock.now, clock.seen

    @property
    def repeating(self) -> frozenset[str]:
        """The venues that may bring liquidations of before a connection."""
        specs = (client.venue.SPEC for client in self.clients)
        return frozenset(spec.name for spec in specs if spec.repeats_liquidations)

    def resume(self, liquidations: Iterable[tuple[Ms, Liquidation]]) -> None:
        """Those that a process before this one has published, each with its age, the oldest first:
        they are known where a venue brings them again."""
        by_venue: dict[str, list[tuple[Ms, Liquidation]]] = {}
        for age, event in liquidations:
            by_venue.setdefault(event.venue, []).append((age, event))
        for client in self.clients:
            client.liquidations.resume(by_venue.get(client.venue.SPEC.name, ()), self._now())

    async def run(self) -> None:
        """Listen to all venues; never returns."""
        async with asyncio.TaskGroup() as tasks:
            for client in self.clients:
                tasks.create_task(client.run(self._take_listing, self._choose))

    def status(self) -> list[VenueStatus]:
        """How every venue is doing."""
        return [self._venue_status(client) for client in self.clients]

    def _on_event(self, event: AnyEvent) -> None:
        if isinstance(event, FeedState):
            feeds = self._feeds.setdefault(event.venue, {})
            before = feeds.get((event.kind, event.symbol))
            if before is None or before[0].up is not event.up:
                feeds[event.kind, event.symbol] = event, self._now()
        self._publish(event)

    def _take_listing(self, venue: str, instruments: Sequence[Instrument]) -> None:
        self._listed[venue] = instruments
        if len(self._listed) == len(self.clients):
            self._all_listed.set()
        if self._all_listed.is_set():
            self._say_unlisted()

    async def _choose(self) -> Sequence[str]:
        """The assets to watch, ranked over all venues that can be reached."""
        try:
            async with asyncio.timeout(_WAIT_FOR_OTHERS_S):
                await self._all_listed.wait()
        except TimeoutError:
            self._all_listed.set()  # other venues do not wait for one that cannot be reached
            self._say_unlisted()
        listed = [instrument for of_venue in self._listed.values() for instrument in of_venue]
        self._chosen = choose_assets(listed, self._markets, self._chosen)
        return self._chosen

    def _say_unlisted(self) -> None:
        """Report assets that are named and listed nowhere: each once, and when it changes."""
        listed = [instrument for of_venue in self._listed.values() for instrument in of_venue]
        absent = unlisted(listed, self._markets.named)
        for asset in self._markets.named:
            if self._unlisted.get(asset) is not (asset in absent):
                self._unlisted[asset] = asset in absent
                asked = f"asked: {', '.join(sorted(self._listed))}"
                self._publish(
                    fault(
                        FaultCode.ASSET_NOT_LISTED,
                        self._seen(),
                        subject=asset,
                        over=asset not in absent,
                        detail=absent.get(asset) or asked,
                    )
                )

    def _venue_status(self, client: VenueClient) -> VenueStatus:
        spec, usage = client.venue.SPEC, client.rest.usage
        return VenueStatus(
            name=spec.name,
            title=spec.title,
            trouble=client.trouble,
            instruments=client.instruments,
            refused_names=client.refused_names,
            unknown_contracts=client.unknown_contracts,
            feeds={kind: self._feed_count(client, kind) for kind in sorted(spec.kinds)},
            silent=self._silent(client),
            not_available=sorted((SPOT_KINDS if spec.spot else set(Kind)) - spec.kinds),
            sides_known=spec.spot or spec.open_interest.counted is not None,
            requests=usage.requests,
            requests_failed=usage.failures,
            sockets=[self._socket_status(socket) for socket in client.sockets],
        )

    def _feed_count(self, client: VenueClient, kind: Kind) -> FeedCount:
        watched = {"*", *client.watched}
        feeds = self._feeds.get(client.venue.SPEC.name, {})
        states = [s.up for feed, (s, _) in feeds.items() if feed[0] is kind and feed[1] in watched]
        return FeedCount(up=sum(states), down=len(states) - sum(states))

    def _silent(self, client: VenueClient) -> list[SilentContract]:
        feeds = self._feeds.get(client.venue.SPEC.name, {})
        silent: list[SilentContract] = []
        for instrument in client.watched_of(self._markets.named):
            states = [feeds.get((kind, instrument.symbol)) for kind in Kind]
            down = [state for state in states if state is not None and not state[0].up]
            if down:
                silent.append(
                    SilentContract(
                        symbol=instrument.symbol,
                        kinds=[state.kind for state, _ in down],
                        since=self._dated(min(at for _, at in down)),
                        reason=printable(next((s.reason for s, _ in down if s.reason), ""), 120),
                    )
                )
        return silent

    def _socket_status(self, socket: Socket) -> SocketStatus:
        session = socket.session
        stats = session.stats
        live, books = session.books()
        last_data = self._dated(stats.last_data) if stats.last_data else 0
        return SocketStatus(
            name=session.subscription.name,
            kinds=sorted(session.subscription.kinds),
            connected=session.connected,
            ready=session.ready,
            reason="" if session.ready else session.reason,
            frames_per_s=self._rate(id(socket), stats.frames),
            books_live=live,
            books=books,
            **msgspec.structs.asdict(stats) | {"last_data": last_data},
        )

    def _dated(self, at: Ms) -> Ms:
        """When that was by our clock as it goes now, whatever it was then."""
        return self._seen() - (self._now() - at)

    def _rate(self, key: int, frames: int) -> float:
        """Frames a second since the status before."""
        now = self._now()
        then, before, rate = self._frames.get(key, (now, frames, 0.0))
        if now - then >= 1_000:
            rate = (frames - before) * 1000 / (now - then)
            then, before = now, frames
        self._frames[key] = (then, before, round(rate, 1))
        return round(rate, 1)
