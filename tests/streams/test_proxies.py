"""Which proxy a request goes through, by the variables that everybody uses."""

import pytest

from streams.proxies import Proxies, problems, proxies, proxy_url, shown

P = {name: f"http://{name.lower().replace('_', '-')}:1" for name in ("HTTPS_PROXY", "ALL_PROXY")}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://host:3128", "http://host:3128"),
        ("HTTP://Host", "http://host:80"),
        ("host:3128", "http://host:3128"),
        ("https://host/", "https://host:443"),
        ("socks5://host", "socks5h://host:1080"),
        ("socks5h://user:p%40ss@[::1]:9", "socks5h://user:p%40ss@[::1]:9"),
        ("http://user@host:1", "http://user:@host:1"),
        ("http://us+er:p+s;s@host:1", "http://us%2Ber:p%2Bs%3Bs@host:1"),
    ],
)
def test_a_proxy_is_written_out(text: str, url: str):
    assert proxy_url(text) == url
    assert proxy_url(url) == url
    assert "p%40ss" not in shown(url)


@pytest.mark.parametrize(
    "text",
    ["socks4://h:1", "ftp://h", "http://", "http://:1", "http://h:0", "http://h:x", "http://h:²",
     "http://h:1:2", "http://h/path", "http://h:1?q", "http://u:p#w@h:1", "http://u:p w@h:1",
     "http://u:100%@h:1", "http://[::1:1", "://h:1", "http://h:1#", "http://h..i:1",
     "http://[:::1:::]:1",     "h:" + "9" * 400],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_without_being_shown(text: str):
    (problem,) = problems({"all_proxy": text})
    assert problem.startswith("ALL_PROXY (environment): ")
    assert "p#w" not in problem


@pytest.mark.parametrize(
    ("env", "https", "wss", "http"),
    [
        ({}, None, None, None),
        ({"HTTPS_PROXY": "a:1"}, "http://a:1", "http://a:1", None),
        ({"https_proxy": "a:1", "HTTPS_PROXY": "b:1"}, "http://a:1", "http://a:1", None),
        ({"https_proxy": "", "HTTPS_PROXY": "b:1"}, None, None, None),
        ({"ALL_PROXY": "socks5://a"}, *(["socks5h://a:1080"] * 3)),
        ({"all_proxy": "a:1", "http_proxy": "b:1"}, "http://a:1", "http://a:1", "http://b:1"),
        ({"ALL_PROXY": "a:1", "NO_PROXY": "*"}, None, None, None),
    ],
)
def test_each_variable(env: dict[str, str], https: str | None, wss: str | None, http: str | None):
    proxy_settings = proxies(env)
    assert proxy_settings.of("https://x.com/path") == https
    assert proxy_settings.of("wss://x.com/ws") == wss
    assert proxy_settings.of("http://x.com") == http


@pytest.mark.parametrize(
    ("url", "bypassed"),
    [
        ("https://api.example.com", True), ("https://example.com:8443", True),
        ("https://notexample.com", False), ("https://EXAMPLE.com.", True),
        ("https://a.dotted.org", True), ("https://other.net:444", True),
        ("https://other.net", False), ("https://10.1.2.3", True), ("https://11.1.2.3", False),
        ("https://[fd00::5]", True), ("https://[fe00::5]", False), ("wss://a.star.io:9", True),
        ("http://127.0.0.1:6379", True), ("http://localhost", True), ("http://[::1]:5", True),
        ("https://api.telegram.org", False),
    ],
)  # fmt: skip
def test_hosts_without_a_proxy(url: str, bypassed: bool):
    names = "example.com, .dotted.org,other.net:444 10.0.0.0/8,fd00::/8,*.star.io"
    proxy_settings = proxies({"ALL_PROXY": "a:1", "no_proxy": names})
    assert (proxy_settings.of(url) is None) is bypassed


def test_a_password_is_not_in_what_is_printed():
    assert "secret" not in repr(Proxies(secure="http://u:secret@h:1"))
