"""Messengers in the configuration: tables, variables, what is missing, and that no secret shows."""

from pathlib import Path

import pytest

from bot.config import ConfigError, load
from bot.config.environment import environment, misspelt
from bot.config.explain import describe
from bot.config.messengers import MessengerSettings
from bot.config.recipients import messenger_chats
from bot.config.reload import change_summary, needs_restart, with_addresses_of
from bot.delivery.sinks.apprise import Apprise
from bot.delivery.sinks.messenger import Messenger
from bot.delivery.sinks.services import SERVICES, Account, json_object, request_of
from bot.destination import MessengerName, Service
from bot.messages.render import Message
from bot.plan.planner import Quiet
from bot.redaction import redact
from bot.roles.run import sinks
from rules.alerts import Level, Turn
from tests.bot.config.written import HEAD, read

TO = "C0123456789abcdef0123456789abcdef"
FOUR = f"""
[channel]
language = "ja"
posts_per_hour = 6
quiet = "23:00-07:00 Asia/Tokyo"
[[messengers]]
service = "discord"
[[messengers]]
service = "slack"
name = "my-desk"
language = "en"
detail = "short"
assets = ["majors"]
posts_per_hour = 3
quiet = "none"
[[messengers]]
service = "ntfy"
min_level = "critical"
[[messengers]]
service = "line"
to = "{TO}"
language = "zh-TW"
"""
ENV = {
    "LOWTIDE_DISCORD_URL": "https://discord.com/api/webhooks/1/H1DDEN/",
    "LOWTIDE_SLACK_URL_MY_DESK": " https://hooks.slack.com/services/H1DDEN\n",
    "LOWTIDE_NTFY_URL": "https://ntfy.sh/H1DDEN-topic",
    "LOWTIDE_NTFY_TOKEN": "tk_H1DDEN",
    "LOWTIDE_LINE_TOKEN": "H1DDEN+/token=",
}


def problems(folder: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, HEAD + text, env)
    return [line.replace(f"{folder}/", "") for line in caught.value.problems]


def test_tables_take_what_they_leave_out_from_the_channel(tmp_path: Path):
    night = Quiet(start=1380, end=420, zone="Asia/Tokyo")
    settings = read(tmp_path, HEAD + FOUR, ENV)
    discord, slack, ntfy, line = settings.messengers
    assert discord == MessengerSettings(
        service=Service.DISCORD, language="ja", posts_per_hour=6, quiet=night, pictures="dark"
    )
    assert (slack.key, slack.language, slack.short, slack.quiet) == (
        "slack:my-desk", "en", True, None,
    )  # fmt: skip
    assert (slack.posts_per_hour, slack.wanted.assets) == (3, ("majors",))
    assert (ntfy.key, ntfy.wanted.min_level) == ("ntfy", Level.CRITICAL)
    assert (line.to, line.language) == (TO, "zh-TW")
    assert settings.messenger_secrets == {
        name: value.strip().rstrip("/") for name, value in ENV.items()
    }


def test_they_are_told_by_event_and_their_posts_are_not_edited(tmp_path: Path):
    _, slack, *_ = chats = messenger_chats(read(tmp_path, HEAD + FOUR, ENV))
    assert [(chat.threaded, chat.edits) for chat in chats] == [(True, False)] * 4
    assert (slack.destination, slack.posts_per_hour) == (MessengerName(Service.SLACK, "my-desk"), 3)
    assert slack.key == "slack:my-desk"


def test_each_has_the_sink_of_its_service(tmp_path: Path):
    every = sinks(read(tmp_path, HEAD + FOUR, ENV))
    for messenger in read(tmp_path, HEAD + FOUR, ENV).messengers:
        assert isinstance(every.of(messenger.destination), Messenger)
    assert len({id(every.of(MessengerName(service))) for service in SERVICES}) == 4


def test_check_says_where_to_and_nothing_that_is_secret(tmp_path: Path):
    settings = read(tmp_path, HEAD + FOUR, ENV)
    lines = [line.strip() for line in describe(settings).splitlines()]
    start = lines.index("to discord at discord.com, language ja")
    assert lines[start : start + 8] == [
        "to discord at discord.com, language ja",
        "all rules; at most 6 an hour, quiet 23:00-07:00 Asia/Tokyo",
        "to slack:my-desk at hooks.slack.com, language en, short posts",
        "all rules on majors; at most 3 an hour",
        "to ntfy at ntfy.sh, language ja",
        "all rules, from critical up; at most 6 an hour, quiet 23:00-07:00 Asia/Tokyo",
        "to line, language zh-TW",
        "all rules; at most 6 an hour, quiet 23:00-07:00 Asia/Tokyo",
    ]
    assert "H1DDEN" not in "\n".join(lines) + repr(settings)
    for value in ENV.values():
        assert "H1DDEN" not in redact(f"what {value.strip()} says")


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path: Path):
    assert problems(tmp_path, FOUR) == [
        "LOWTIDE_DISCORD_URL (environment): is missing: put the address that Discord shows under "
        "Integrations, Webhooks there",
        "LOWTIDE_SLACK_URL_MY_DESK (environment): is missing: put the address that Slack shows "
        "under Incoming Webhooks there",
        "LOWTIDE_NTFY_URL (environment): is missing: put the topic's address, such as "
        "https://ntfy.sh/… there",
        "LOWTIDE_LINE_TOKEN (environment): is missing: put the channel access token of LINE's "
        "Messaging API there",
    ]


@pytest.mark.parametrize(
    ("service", "name", "value", "problem"),
    [
        ("slack", "LOWTIDE_SLACK_URL", "hooks.slack.com/H1DDEN", "must be a URL that starts with"),
        ("slack", "LOWTIDE_SLACK_URL", "https://x/ H1DDEN", "has a space or another sign in it"),
        ("discord", "LOWTIDE_DISCORD_URL", "https://discord.com", "must have a path"),
        ("ntfy", "LOWTIDE_NTFY_URL", "https://ntfy.sh/", "must have a path"),
        ("ntfy", "LOWTIDE_NTFY_URL", "https://ntfy.sh/H1DDEN?auth=H1DDEN", "must end with a host"),
        ("ntfy", "LOWTIDE_NTFY_URL", "https://ntfy.sh/H1DDEN.x", "must end in the name of a topic"),
        ("ntfy", "LOWTIDE_NTFY_URL", "https://h/H1DDEN%20x", "must end in the name of a topic"),
        ("ntfy", "LOWTIDE_NTFY_URL", f"https://h/H1DDEN{'x' * 60}", "must end in the name of a to"),
        (
            "ntfy",
            "LOWTIDE_NTFY_URL",
            "https://u:H1DDEN@ntfy.sh/x",
            "must not have a user and a password, which ntfy does not take: put an access token in "
            "LOWTIDE_NTFY_TOKEN",
        ),
        ("discord", "LOWTIDE_DISCORD_URL", "https://H1DDEN@h/x", "must not have a user and a pass"),
        ("slack", "LOWTIDE_SLACK_URL", "https://u:H1DDEN@h/x", "must not have a user and a passwo"),
        ("line", "LOWTIDE_LINE_URL", "https://u:H1DDEN@h", "must not have a user and a password"),
        ("ntfy", "LOWTIDE_NTFY_TOKEN", "tk\nH1DDEN", "has a sign in it that a token cannot hold"),
        ("line", "LOWTIDE_LINE_TOKEN", "H1DDEN é", "has a sign in it that a token cannot hold"),
        ("line", "LOWTIDE_LINE_URL", "https://x/?H1DDEN", "must end with a host"),
    ],
)
def test_what_is_wrong_is_said_without_what_it_is(
    tmp_path: Path, service: str, name: str, value: str, problem: str
):
    to = f'to = "{TO}"\n' if service == "line" else ""
    text = f'[[messengers]]\nservice = "{service}"\n{to}'
    (line,) = problems(tmp_path, text, {**ENV, name: value})
    assert line.startswith(f"{name} (environment): {problem}")
    assert "H1DDEN" not in line


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('service = "teams"', '"discord", "slack", "ntfy", "line", "apprise", not "teams"'),
        ('name = "x"', "messengers.service: is missing"),
        ('service = "line"', "messengers.to: is missing: the id of the user"),
        ('service = "line"\nto = "me"', "must be the id of a LINE user, group or room"),
        (f'service = "slack"\nto = "{TO}"', "messengers.to: is for LINE only"),
        ('service = "slack"\nname = "a b"', "must be 1 to 32 of letters"),
        ('service = "slack"\nname = "my_file"', "must not end in file"),
        ('service = "slack"\nlanguage = "fr"', 'messengers.language: unknown language "fr"'),
        ('service = "slack"\nrules = ["nope"]', 'there is no rule "nope"'),
        ('service = "slack"\ntopic = 7', "messengers.topic: unknown key"),
    ],
)
def test_a_table_that_is_wrong_is_named(tmp_path: Path, table: str, problem: str):
    env = {**ENV, "LOWTIDE_SLACK_URL": "https://hooks.slack.com/services/H1DDEN"}
    (line,) = problems(tmp_path, f"[[messengers]]\n{table}\n", env)
    assert problem in line


APPRISE = '[[messengers]]\nservice = "apprise"\nname = "desk"\n'


def test_an_address_of_apprise_stays_as_it_is_and_only_its_service_is_shown(tmp_path: Path):
    env = {"LOWTIDE_APPRISE_URL_DESK": "slack://H1DDEN-a/H1DDEN-b/#alerts,ops?x=1 "}
    settings = read(tmp_path, HEAD + APPRISE, env)
    assert settings.messenger_secrets == {
        "LOWTIDE_APPRISE_URL_DESK": "slack://H1DDEN-a/H1DDEN-b/#alerts,ops?x=1"
    }
    assert isinstance(sinks(settings).of(MessengerName(Service.APPRISE, "desk")), Apprise)
    text = describe(settings)
    assert "to apprise:desk as slack, language en" in text
    assert "H1DDEN" not in text + repr(settings)
    assert "H1DDEN" not in redact("apprise said H1DDEN-a/H1DDEN-b/#alerts,ops?x=1")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is missing: put an address of apprise, such as mailto://… or matrixs://…, there"),
        ("H1DDEN", "must be an address of apprise, such as mailto://…, with other signs"),
        ("json://H1DDEN é", "must be one address"),
        ("json://H1DDEN/é", "must be an address of apprise"),
        ("json://H1DDEN/ json://H1DDEN/", "must be one address: of several each has a table"),
        ("json://H1DDEN/,json://H1DDEN/", "must be one address: of several each has a table"),
        ("json://H1DDEN/\x1b", "must be an address of apprise"),
    ],
)
def test_what_is_no_address_of_apprise_is_said_without_what_it_is(
    tmp_path: Path, value: str, problem: str
):
    (line,) = problems(tmp_path, APPRISE, {"LOWTIDE_APPRISE_URL_DESK": value})
    assert line.startswith(f"LOWTIDE_APPRISE_URL_DESK (environment): {problem}")
    assert "H1DDEN" not in line


@pytest.mark.parametrize(("first", "second"), [("", ""), ("a-b", "A_b")])
def test_two_that_would_be_reached_by_the_same_variables_are_one_too_many(
    tmp_path: Path, first: str, second: str
):
    def table(name: str) -> str:
        return '[[messengers]]\nservice = "slack"\n' + (f'name = "{name}"\n' if name else "")

    env = dict.fromkeys(["LOWTIDE_SLACK_URL", "LOWTIDE_SLACK_URL_A_B"], "https://x/abcdef")
    (line,) = problems(tmp_path, table(first) + table(second), env)
    assert "has the variables of another one: LOWTIDE_SLACK_URL" in line
    assert read(tmp_path, HEAD + table("a") + table("b"), {
        "LOWTIDE_SLACK_URL_A": "https://x/abcdef", "LOWTIDE_SLACK_URL_B": "https://x/abcdeg",
    }).messengers  # fmt: skip


def test_secrets_may_be_in_files_and_in_dotenv(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text(f"{ENV['LOWTIDE_DISCORD_URL']}\n")
    (tmp_path / ".env").write_text(
        f"LOWTIDE_DISCORD_URL_DESK_FILE={secret}\nLOWTIDE_LINE_TOKEN=x\n"
    )
    env = environment({}, tmp_path)
    assert env["LOWTIDE_DISCORD_URL_DESK"] == ENV["LOWTIDE_DISCORD_URL"].strip()
    assert misspelt(env) == []
    (tmp_path / "config.toml").write_text(
        HEAD + '[[messengers]]\nservice = "discord"\nname = "desk"\n'
    )
    (desk,) = load(tmp_path / "config.toml", env).messengers
    assert desk.key == "discord:desk"


@pytest.mark.parametrize("end", ["", "/", "//", "/ "])
def test_the_topic_is_found_whatever_slashes_follow_it(tmp_path: Path, end: str):
    env = {**ENV, "LOWTIDE_NTFY_URL": f"https://ntfy.sh/path/my_topic-1{end}"}
    settings = read(tmp_path, HEAD + '[[messengers]]\nservice = "ntfy"\n', env)
    account = Account(url=settings.messenger_secrets["LOWTIDE_NTFY_URL"])
    message = Message(
        alert_id="id", asset="BTC", rule="r", turn=Turn.OPEN, level=Level.ALERT, silent=False,
        html="x", plain="x", at=0,
    )  # fmt: skip
    request = request_of(Service.NTFY, message, account, "key")
    assert request.url == "https://ntfy.sh/path/"
    assert json_object(request.content)["topic"] == "my_topic-1"


def test_what_messengers_get_is_taken_over_where_they_are_reached_needs_a_restart(tmp_path: Path):
    before = read(tmp_path, HEAD + FOUR, ENV)
    weekly = FOUR.replace("posts_per_hour = 6", 'weekly_report = "Mon 09:00 UTC"')
    after = read(tmp_path, HEAD + weekly.replace('"critical"', '"alert"'), ENV)
    text = change_summary(before, after, 0)
    assert "messenger ntfy: min_level" in text and "Restart" not in text
    assert with_addresses_of(before, after).messengers == after.messengers
    new = read(tmp_path, HEAD + FOUR.replace('"slack"', '"discord"'), {
        **ENV, "LOWTIDE_DISCORD_URL_MY_DESK": "https://discord.com/api/webhooks/1/H1DDEN",
    })  # fmt: skip
    assert needs_restart(before, new) == ["messengers"]
    assert with_addresses_of(before, new).messengers == before.messengers, "slack has a way out"
    moved = read(tmp_path, HEAD + FOUR.replace(TO, TO[:-1] + "0"), ENV)
    assert needs_restart(before, moved) == ["messengers"]
    assert with_addresses_of(before, moved).messengers == before.messengers


def test_a_changed_secret_takes_effect_with_a_restart_and_is_not_told(tmp_path: Path):
    before = read(tmp_path, HEAD + FOUR, ENV)
    other = read(tmp_path, HEAD + FOUR, {**ENV, "LOWTIDE_NTFY_TOKEN": "tk_other"})
    assert needs_restart(before, other) == ["messengers"]
    gone = read(tmp_path, HEAD + FOUR.replace('name = "my-desk"', 'name = "it"'), {
        **ENV, "LOWTIDE_SLACK_URL_IT": "https://hooks.slack.com/services/H1DDEN",
    })  # fmt: skip
    assert "new messenger slack:it, messenger slack:my-desk is gone" in change_summary(
        before, gone, 0
    )
