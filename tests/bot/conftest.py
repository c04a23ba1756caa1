"""Fixtures that several folders use: a Redis, and the crash day played once for all."""

from typing import TYPE_CHECKING

import pytest

from tests.valkey import proxy, quick, redis, shaky, valkey

if TYPE_CHECKING:
    from tests.bot.scenarios.test_crash_day import Crash

__all__ = ["proxy", "quick", "redis", "shaky", "valkey"]


@pytest.fixture(scope="session")
def crash(tmp_path_factory: pytest.TempPathFactory) -> "Crash":
    """The long day: a minute of work, so it is done once."""
    from tests.bot.scenarios.test_crash_day import Crash

    return Crash(tmp_path_factory.mktemp("metrics"))
