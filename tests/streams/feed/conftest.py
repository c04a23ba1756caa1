"""Fixtures for venue clients."""

import pytest

from streams.feed import client as clients


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of clients without jitter, and no proxy between us and loopback."""
    monkeypatch.setattr(clients.random, "random", lambda: 0.5)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
