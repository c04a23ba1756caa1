"""What the tests of history share."""

from collections.abc import AsyncIterator

import aiohttp.test_utils
import pytest
from aiohttp import web

from tests.bot.history.archive_server import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", served.answer)
    async with aiohttp.test_utils.TestServer(app, host="127.0.0.1") as running:
        served.url = str(running.make_url("")).rstrip("/")
        yield served
