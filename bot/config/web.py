"""``[web]``: where metrics and health are served, and to whom. Pure."""

import ipaddress

WEB_TOKEN = "LOWTIDE_WEB_TOKEN"  # noqa: S105  # the variable's name
_LEAST_TOKEN = 16


def is_this_machine(host: str) -> bool:
    """Whether a host that is asked for or listened on is this machine, so that no other can ask."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def web_problems(address: tuple[str, int] | None, token: str) -> list[str]:
    """What is wrong with the token, given where others could ask."""
    if token and len(token) < _LEAST_TOKEN:
        return [f"{WEB_TOKEN} (environment): must have at least {_LEAST_TOKEN} characters"]
    if address is not None and not is_this_machine(address[0]) and not token:
        return [
            f"{WEB_TOKEN} (environment): is missing, and [web] address lets other machines ask: put"
            " any long random text there, which they send as a bearer token"
        ]
    return []
