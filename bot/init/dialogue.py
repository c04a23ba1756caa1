"""The three questions of ``lowtide init``, and the search for the chat's number."""

import asyncio
import getpass
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bot.commands.updates import number
from bot.config import load
from bot.config.environment import Environment
from bot.config.source import SHIPPED
from bot.config.values import chat_id
from bot.delivery.sinks import ChatMoved, RefusalScope, Refused, SendError
from bot.delivery.sinks.telegram import TelegramClient
from bot.destination import TelegramChat
from bot.init.files import (
    TOKEN_NAME,
    InitAnswers,
    InitError,
    about,
    coins_in,
    config_text,
    write_files,
)
from bot.init.offers import KINDS, ChatOffer, chats_in
from bot.redaction import redact, register_token
from streams.proxies import proxies

WAIT_S = 180.0
"""So long somebody may take to post something in the chat."""

_POLL_S = 20.0
_TIMEOUT_S = 10.0
_TOKEN = re.compile(r"\d+:[\w-]+")
_API = "https://api.telegram.org"
_Result = TypeVar("_Result")


class Terminal:
    """Where somebody is asked."""

    def say(self, text: str) -> None:
        """Show a line."""
        sys.stdout.write(f"{redact(text)}\n")
        sys.stdout.flush()

    def ask(self, *, secret: bool = False) -> str:
        """A line that somebody writes; a ``secret`` one is not shown. Raises InitError."""
        try:
            if secret and sys.stdin.isatty():
                return getpass.getpass("> ").strip()
            return input("> ").strip()
        except EOFError:
            raise InitError("the answers ended before the questions: nothing was set up") from None


class Dialogue:
    """Asks, and writes what comes of it to ``path``.

    ``env``: the environment with ``.env``, see ``bot.config.environment``. ``api_url``: a Bot API
    server in place of Telegram's own. ``wait_s``: how long the chat is looked for. ``schema``: that
    of the configuration, for editors.
    """

    def __init__(
        self,
        path: Path,
        env: Environment,
        api_url: str | None = None,
        terminal: Terminal | None = None,
        wait_s: float = WAIT_S,
        schema: str = "",
    ) -> None:
        self._path = path
        self._env = env
        self._api_url = api_url
        self._terminal = terminal or Terminal()
        self._wait_s = wait_s
        self._schema = schema

    def run(self) -> list[Path]:
        """The files that were written. Raises InitError; then there is none."""
        shipped = load(SHIPPED, {})
        say = self._terminal.say
        kept = self._env.get(TOKEN_NAME, "").strip()
        token = self._kept(kept) if kept else self._new_token()
        chat, title = (None, "") if token is None else self._chat(token)
        say("")
        listed = ", ".join([*shipped.majors, *shipped.large])
        say(f"3. Which coins, such as BTC, ETH, SOL? Enter: {listed} and {shipped.tail} more")
        answers = InitAnswers(
            chat=chat, about_chat=title, coins=self._coins(), api_url=self._api_url
        )
        text = config_text(answers, shipped.majors)
        return write_files(self._path, text, token if token != kept else None, self._schema)

    def _kept(self, token: str) -> str:
        """A token that is there already."""
        place = self._env.places.get(TOKEN_NAME)
        where = f"{place}" if place else f"the environment, {TOKEN_NAME}"
        try:
            name = self._name(token)
        except Refused:
            raise InitError(
                f"Telegram refuses the token in {where}: take it out there, or put in the one that"
                " @BotFather tells"
            ) from None
        self._terminal.say(f"1. The token in {where} is used: the bot is @{name}.")
        return token

    def _new_token(self) -> str | None:
        say = self._terminal.say
        say("1. The bot's token: write /newbot to @BotFather in Telegram, which tells it.")
        say("   Enter: no bot, messages go to this terminal.")
        while answer := self._terminal.ask(secret=True):
            if not _TOKEN.fullmatch(answer):
                say("   That is no token, which looks like 123456789:AAF…: copy it once more.")
                continue
            register_token(answer)
            try:
                say(f"   The bot is @{self._name(answer)}.")
            except Refused:
                say("   Telegram refuses this token: copy it once more from @BotFather.")
                continue
            return answer
        return None

    def _name(self, token: str) -> str:
        """The bot's name. Raises Refused if the token is none, InitError without an answer."""

        async def name(client: TelegramClient) -> str:
            return await client.name()

        try:
            return self._with_client(token, name)
        except SendError as error:
            if isinstance(error, Refused) and error.scope is RefusalScope.ALL:
                raise
            raise InitError(
                f"{error.reason} at {self._api_url or _API}: check the network, or name a proxy in"
                " ALL_PROXY; nothing was set up"
            ) from None

    def _chat(self, token: str) -> tuple[int | str, str]:
        """The chat's number or name, and what it is called."""
        say = self._terminal.say
        name = self._name(token)
        while True:
            say("")
            say("2. The chat for alerts, such as @your_channel or -1001234567890.")
            say("   Enter: it is found, if you post something there.")
            if answer := self._terminal.ask():
                try:
                    chat = _chat_of(answer)
                except ValueError as error:
                    say(f"   The chat {error}.")
                    continue
                if refusal := self._refusal(token, chat):
                    say(f"   {refusal}.")
                    continue
                return chat, ""
            say(f"   Make @{name} an administrator of the channel with the right Post messages,")
            say("   and post anything there, or forward one of its posts to the bot.")
            say(f"   Of a group the bot must be a member. Waiting {self._wait_s / 60:.0f} min …")
            if (offer := self._search(token)) is not None:
                return offer.id, about(offer)

    def _refusal(self, token: str, chat: int | str) -> str:
        """Why Telegram does not take posts to that chat; "" if it does, or does not answer."""

        async def check(client: TelegramClient) -> object:
            return await client.check(TelegramChat(chat))

        try:
            self._with_client(token, check)
        except ChatMoved as error:
            return f"The group {chat} is now {error.chat}: write that"
        except Refused as error:
            return error.reason
        except SendError as error:
            self._terminal.say(f"   {error.reason}: whether the chat is there is not known.")
        return ""

    def _search(self, token: str) -> ChatOffer | None:
        """The chat that somebody agrees to; None if there is none."""
        say = self._terminal.say
        offset, refused, until = 0, set[int](), time.monotonic() + self._wait_s
        while (left := until - time.monotonic()) > 0:
            wait_s = min(_POLL_S, left)

            async def poll(
                client: TelegramClient, offset: int = offset, wait_s: float = wait_s
            ) -> Sequence[object]:
                return await client.updates(offset, wait_s, KINDS)

            try:
                updates = self._with_client(token, poll)
            except SendError as error:
                say(f"   {error.reason}: stop what uses it, and try again")
                say("   with Enter, or write the chat's number.")
                return None
            for update in updates:
                offset = max(offset, (number(update) or 0) + 1)
                for offer in chats_in(update):
                    if offer.id in refused:
                        continue
                    say(f"   Found: {offer}. Shall alerts go there? Enter: yes; n: no, look on")
                    if self._terminal.ask().lower() in ("", "y", "yes"):
                        return offer
                    refused.add(offer.id)
        say("   Nothing came. Is the bot an administrator there? Its settings show it.")
        return None

    def _coins(self) -> tuple[str, ...]:
        while True:
            try:
                return coins_in(self._terminal.ask())
            except ValueError as error:
                self._terminal.say(f"   {error}.")

    def _with_client(
        self, token: str, ask: Callable[[TelegramClient], Awaitable[_Result]]
    ) -> _Result:
        url = self._api_url or _API
        proxy = proxies(self._env).of(url)

        async def asked() -> _Result:
            client = TelegramClient(
                token, url, read_timeout=_TIMEOUT_S, connect_timeout=_TIMEOUT_S, proxy=proxy
            )
            try:
                return await ask(client)
            finally:
                await client.close()

        return asyncio.run(asked())


def _chat_of(answer: str) -> int | str:
    """Raises ValueError."""
    if re.fullmatch(r"-?\d{1,16}", answer):
        return chat_id(int(answer))
    link = re.fullmatch(r"(?:https?://)?t\.me/(?:c/(\d{1,14})|(\w+))(?:/\d*)*", answer)
    if link is not None:
        return chat_id(int(f"-100{link[1]}") if link[1] else f"@{link[2]}")
    return chat_id(answer)
