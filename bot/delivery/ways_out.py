"""The sinks of webhooks and messengers, with the addresses and secrets of the settings."""

from collections.abc import Mapping

from bot.config import Settings
from bot.delivery.sinks import Sink
from bot.delivery.sinks.apprise import Apprise
from bot.delivery.sinks.messenger import Messenger
from bot.delivery.sinks.services import Account
from bot.delivery.sinks.webhook import Endpoint, Webhook
from bot.destination import Service
from streams.proxies import Proxies

TIMEOUT_S = 20.0
"""For one request."""


def webhook_sink(settings: Settings, timeout: float = TIMEOUT_S) -> Sink:
    """The sink of ``[[webhooks]]``."""
    secret = settings.webhook_secret or ""
    endpoints = {
        webhook.name: Endpoint(url=webhook.url, secret=secret) for webhook in settings.webhooks
    }
    return Webhook(endpoints, timeout=timeout, proxies=settings.proxies)


def messenger_sinks(settings: Settings, timeout: float = TIMEOUT_S) -> Mapping[Service, Sink]:
    """The sink of each service in ``[[messengers]]``."""
    secrets = settings.messenger_secrets
    accounts: dict[Service, dict[str, Account]] = {}
    for messenger in settings.messengers:
        url, token = (secrets.get(messenger.variable(what), "") for what in ("URL", "TOKEN"))
        account = Account(url=url, token=token, to=messenger.to)
        accounts.setdefault(messenger.service, {})[messenger.name] = account
    return {
        service: _messenger(service, named, timeout, settings.proxies)
        for service, named in accounts.items()
    }


def _messenger(
    service: Service, accounts: Mapping[str, Account], timeout: float, proxies: Proxies
) -> Sink:
    if service is Service.APPRISE:
        addresses = {name: account.url for name, account in accounts.items()}
        return Apprise(addresses, timeout, proxies)
    return Messenger(service, accounts, timeout=timeout, proxies=proxies)
