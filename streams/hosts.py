"""The host and the port in a URL, read in one place for all URLs that somebody writes. Pure.

What is taken here can be opened by every client: they disagree on what is no address, and some say
so only when they are asked to connect.
"""

import ipaddress
import re

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE | re.ASCII)
_LONGEST = 253


class HostError(ValueError):
    """There is no host that a connection can be made to. ``str()`` says why, and shows no part."""


class PortError(HostError):
    """The port is none."""


def host_and_port(text: str) -> tuple[str, int | None]:
    """``example.org:8080`` or ``[::1]``: the host in ASCII, an IPv6 address in its brackets, and
    the port, None where there is none. Raises HostError."""
    if text.startswith("["):
        inside, closed, rest = text[1:].partition("]")
        if not closed:
            raise HostError("has a [ that is not closed: an IPv6 address is written [::1]:6379")
        _check_ipv6(inside)
        host = f"[{inside}]"
    else:
        name, colon, digits = text.partition(":")
        host, rest = _in_ascii(name), colon + digits
    return host, _port(rest)


def _check_ipv6(text: str) -> None:
    try:
        # a zone, such as that of a link, is written with an encoded % in URLs
        ipaddress.IPv6Address(text.replace("%25", "%", 1))
    except ValueError:
        raise HostError("has something between its [ ] that is no IPv6 address") from None


def _in_ascii(name: str) -> str:
    if not name:
        raise HostError("names no host: write it after ://, such as https://example.org/path")
    try:
        encoded = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        encoded = ""
    labels = encoded.removesuffix(".").split(".")
    if len(encoded) > _LONGEST or not all(_LABEL.fullmatch(label) for label in labels):
        raise HostError(
            "names a host that cannot be: letters, digits and - with single dots between them"
        )
    return encoded


def _port(rest: str) -> int | None:
    digits = rest.removeprefix(":")
    if not rest:
        return None
    known = rest != digits and digits.isascii() and digits.isdigit() and len(digits) < 6
    if not known or not 0 < int(digits) < 65_536:
        raise PortError("has a port that is no number from 1 to 65535")
    return int(digits)
