"""What is exported, by a parser that is not ours, and the dashboard that asks for it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot import __version__
from bot.delivery.post import ChatReport
from bot.web.metrics import exposition, metric_families
from bot.web.readiness import readiness
from rules.snapshot import OpenEpisodes
from tests.bot.web.cases import NOW, socket, status, venue
from tests.conftest import ROOT

NONE_OPEN = OpenEpisodes(seen=NOW, episodes=())


def exported(report: dict[str, Any], episodes: OpenEpisodes | None = NONE_OPEN) -> dict[str, float]:
    """``name{label="value"}`` → number, of every sample."""
    checks = readiness(report, {}, telegram=True)
    text = exposition(metric_families(report, checks, episodes)).decode()
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            key = sample.name + (f"{{{labels}}}" if labels else "")
            assert key not in samples, f"{key} is there twice"
            samples[key] = sample.value
    return samples


def test_the_numbers_are_those_of_the_roles() -> None:
    samples = exported(status())
    assert samples[f"lowtide_build_info{{version={__version__}}}"] == 1
    expected = {
        "lowtide_ready{check=venues}": 1,
        "lowtide_role_up{role=rules}": 1,
        "lowtide_role_memory_bytes{role=streams}": 80.5e6,
        "lowtide_redis_memory_bytes{kind=used}": 12.5e6,
        "lowtide_stream_entries{stream=events}": 7,
        "lowtide_events_written_total": 5_000,
        "lowtide_feeds{feed=price,state=down,venue=bybit}": 1,
        "lowtide_requests_failed_total{venue=bybit}": 1,
        "lowtide_socket_lag_seconds{socket=trades-1,venue=bybit}": 0.12,
        "lowtide_socket_data_age_seconds{socket=trades-1,venue=bybit}": 0.5,
        "lowtide_socket_books{socket=trades-1,state=not_live,venue=bybit}": 1,
        "lowtide_socket_unreadable_rows_total{socket=trades-1,venue=bybit}": 7,
        "lowtide_events_read_total": 4_990,
        "lowtide_rules_tick_age_seconds": 0.4,
        "lowtide_posts_total{outcome=sent}": 9,
        "lowtide_alerts_unposted_total{why=silenced}": 4,
        "lowtide_open_episodes{level=critical}": 0,
        "lowtide_critical_wait_seconds": 0,
    }
    assert {name: samples.get(name) for name in expected} == expected


def test_a_lag_by_a_wrong_clock_is_left_out() -> None:
    late = venue(sockets=[socket(lag_ms=-7_199_998)])
    samples = exported(status(late, streams={"clock": {"ahead": -7_200_000, "venues": ["bybit"]}}))
    assert not [name for name in samples if "socket_lag" in name]
    assert samples["lowtide_ready{check=clock}"] == 0


def test_what_is_not_known_is_left_out() -> None:
    quiet = venue(sockets=[socket(last_data=0)])
    samples = exported(status(quiet, rules=None, bot=None), None)
    assert samples["lowtide_role_up{role=rules}"] == 0
    names = {name.partition("{")[0] for name in samples}
    assert "lowtide_redis_memory_bytes{kind=resident}" not in samples
    for name in ("socket_data_age_seconds", "rules_lag_seconds", "posts_total", "open_episodes"):
        assert f"lowtide_{name}" not in names
    assert "lowtide_role_memory_bytes{role=rules}" not in samples


def test_the_longest_wait_of_something_critical_is_there() -> None:
    chats = [
        msgspec.to_builtins(ChatReport(chat=str(n), ready=True, critical_ms=n * 1000))
        for n in (5, 70, 0)
    ]
    samples = exported(status(bot={"troubled": chats, "off": {"-5": "gone"}}))
    assert samples["lowtide_critical_wait_seconds"] == 70
    assert samples["lowtide_chats_off"] == 1


def test_names_have_their_units_and_no_chat() -> None:
    chat = ChatReport(chat="-100777", ready=False, reason="secret")
    samples = exported(
        status(bot={"troubled": [msgspec.to_builtins(chat)], "off": {"-100777": "x"}})
    )
    assert not [name for name in samples if "777" in name or "secret" in name]
    for name in samples:
        plain = name.partition("{")[0]
        assert re.fullmatch(r"lowtide_[a-z_]+", plain)
        assert not re.search(r"_(ms|mb|min)$", plain)


def queries() -> Iterator[tuple[str, str]]:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("title", "query"), list(queries()))
def test_each_query_of_the_dashboard_asks_for_what_is_exported(title: str, query: str) -> None:
    labels_of: dict[str, set[str]] = {}
    for sample in exported(status(bot={"troubled": []})):
        name, _, labels = sample.partition("{")
        keys = {pair.partition("=")[0] for pair in labels.strip("}").split(",") if pair}
        labels_of.setdefault(name, set()).update(keys)
    names = re.findall(r"lowtide_\w+", query)
    assert names, title
    grouped = re.findall(r"by \(([^)]*)\)", query)
    asked = {label.strip() for group in grouped for label in group.split(",")}
    asked |= set(re.findall(r"(\w+)=\"", query))
    for name in names:
        assert name in labels_of, f"{title}: {name} is not exported"
        assert asked <= labels_of[name], f"{title}: {name} has no label of {asked}"
        counted = name.endswith("_total")
        assert counted == bool(re.search(rf"(rate|increase)\({name}", query)), title


def test_the_dashboard_has_panels_for_all_that_matters() -> None:
    text = " ".join(query for _, query in queries())
    for part in ("feeds", "events", "rules", "alerts", "posts", "memory", "ready"):
        assert re.search(rf"lowtide_(\w+_)?{part}", text), part
