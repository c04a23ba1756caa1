"""Fixtures for tests that need a Redis."""

from tests.valkey import proxy, quick, redis, shaky, valkey

__all__ = ["proxy", "quick", "redis", "shaky", "valkey"]
