"""Which proxy a request goes through: the one place that reads the variables for it. Pure.

``HTTPS_PROXY`` for https and wss, ``HTTP_PROXY`` for http and ws, ``ALL_PROXY`` where these are not
set, ``NO_PROXY`` for hosts without one; of upper and lower case, the lower wins. The proxy looks
names up, for SOCKS too: ``socks5`` and ``socks5h`` mean the same. This machine itself is always
reached without one.
"""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

import msgspec

from streams.hosts import HostError, PortError, host_and_port

SCHEMES: Mapping[str, int] = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""What a proxy may speak, and its usual port."""

VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_SECURE = ("https", "wss")
_UNENCODED = re.compile(r"[\s/?#\[\]\\]|[^\x21-\x7e]|%(?![0-9A-Fa-f]{2})")


class Proxies(msgspec.Struct, frozen=True, kw_only=True):
    """The proxies of this process, as ``proxy_url`` gives them."""

    secure: str | None = None
    """For https and wss; None: no proxy."""
    plain: str | None = None
    """For http and ws; None: no proxy."""
    bypass: tuple[str, ...] = ()
    """Hosts without a proxy: ``*``, ``host``, ``.domain``, ``host:port``, an address or a network
    such as ``10.0.0.0/8``. A domain stands for all hosts below it as well."""

    def __repr__(self) -> str:
        return "<proxies>"

    def of(self, url: str) -> str | None:
        """The proxy for ``url``, None: without one."""
        parts = urlsplit(url)
        proxy = self.secure if parts.scheme in _SECURE else self.plain
        if proxy is None or parts.hostname is None:
            return None
        port = parts.port or (443 if parts.scheme in _SECURE else 80)
        host = parts.hostname.rstrip(".")
        if _is_here(host) or any(_covers(rule, host, port) for rule in self.bypass):
            return None
        return proxy


NO_PROXIES = Proxies()


def proxies(env: Mapping[str, str]) -> Proxies:
    """What the variables in ``env`` ask for. Raises ValueError: see ``problems``."""
    variables = {name: _variable(env, name) for name in VARIABLES}
    https, http, everything = (proxy_url(text) if text else None for text in variables.values())
    names = _variable(env, "NO_PROXY").replace(" ", ",").split(",")
    return Proxies(
        secure=https or everything,
        plain=http or everything,
        bypass=tuple(name.lower() for name in names if name),
    )


def problems(env: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that is no proxy. None shows any part of it, for whatever is
    misplaced may be a part of a password."""
    sentences: list[str] = []
    for name in VARIABLES:
        try:
            if text := _variable(env, name):
                proxy_url(text)
        except ValueError as error:
            sentences.append(f"{name} (environment): {error}")
    return sentences


def proxy_url(text: str) -> str:
    """The URL of a proxy with everything written out: ``socks5h://user:password@host:1080``.

    A scheme that is left out is http. Raises ValueError with what is wrong.
    """
    scheme, colon, rest = text.strip().partition("://")
    if not colon:
        scheme, rest = "http", text.strip()
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        raise ValueError(f"must be the URL of a proxy that starts with {_schemes()}")
    user, at, place = rest.rpartition("@")
    if at and _UNENCODED.search(user):
        raise ValueError(
            "has a sign in its user or password that a URL cannot hold: percent-encode the password"
            " (% is %25, # is %23, / is %2F, ? is %3F, @ is %40, : is %3A)"
        )
    place = place.removesuffix("/")
    host, port = _place(place)
    name, _, password = user.partition(":")
    login = f"{_encoded(name)}:{_encoded(password)}@" if at else ""
    scheme = "socks5h" if scheme == "socks5" else scheme
    return f"{scheme}://{login}{host.lower()}:{port or SCHEMES[scheme]}"


def _place(place: str) -> tuple[str, int | None]:
    try:
        return host_and_port(place)
    except PortError:
        raise ValueError(
            "must end with the port of the proxy, such as http://127.0.0.1:3128; a port is a number"
            " from 1 to 65535"
        ) from None
    except HostError:
        raise ValueError(
            "must name the host of a proxy, such as socks5h://127.0.0.1:1080"
        ) from None


def shown(proxy: str) -> str:
    """``proxy`` without its user and password."""
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _schemes() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES)


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="")


def _variable(env: Mapping[str, str], name: str) -> str:
    return env.get(name.lower(), env.get(name, "")).strip()


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _covers(name: str, host: str, port: int) -> bool:
    if name == "*":
        return True
    address = _address(host)
    if address is not None and (network := _network(name)) is not None:
        return address in network
    wanted, colon, number = name.rpartition(":")
    if colon and number.isdigit() and "]" not in number and wanted.count(":") == 0:
        if number != str(port):
            return False
        name = wanted
    domain = name.removeprefix("*").strip(".[]")
    return host == domain or host.endswith(f".{domain}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None
