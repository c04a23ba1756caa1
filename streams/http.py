"""HTTP sessions that go through the proxy meant for them and ask the environment nothing."""

import aiohttp
import aiohttp_socks

from streams.proxies import Proxies

PROXY_ERRORS = (
    aiohttp_socks.ProxyError,
    aiohttp_socks.ProxyConnectionError,
    aiohttp_socks.ProxyTimeoutError,
)
"""What a SOCKS proxy's failure raises beside aiohttp's own errors; nothing was sent then."""


def http_session(
    url: str, proxies: Proxies, timeout: aiohttp.ClientTimeout
) -> aiohttp.ClientSession:
    """A session for requests below ``url``."""
    proxy = proxies.of(url)
    if proxy is None or not proxy.startswith("socks5h:"):
        return aiohttp.ClientSession(timeout=timeout, proxy=proxy)
    # the library knows no socks5h, and lets the proxy look names up when it is told so
    way = aiohttp_socks.ProxyConnector.from_url(proxy.replace("socks5h", "socks5", 1), rdns=True)
    return aiohttp.ClientSession(timeout=timeout, connector=way)
