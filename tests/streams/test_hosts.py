"""The host and the port in a URL: what can be connected to, and why all else cannot."""

import pytest

from streams.hosts import HostError, PortError, host_and_port


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("example.org", "example.org", None),
        ("example.org.:65535", "example.org.", 65_535),
        ("a_b-c.example:1", "a_b-c.example", 1),
        ("b\u00fccher.example", "xn--bcher-kva.example", None),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:6379", "[::1]", 6_379),
        ("[fe80::1%25eth0]", "[fe80::1%25eth0]", None),
    ],
)
def test_a_host_and_its_port(text: str, host: str, port: int | None):
    assert host_and_port(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "[::1",
        "[]",
        "[1.2.3.4]",
        "[:::]",
        "a..b",
        ".",
        "-a.b",
        "a b",
        "a\u2100b",
        "\xad",
        "a" * 64,
        ".".join(["a" * 50] * 6),
        "a@b",
        "a/b",
        "a%20b",
    ],
)
def test_what_is_no_host(text: str):
    with pytest.raises(HostError) as refused:
        host_and_port(text)
    assert not isinstance(refused.value, PortError)


@pytest.mark.parametrize("port", [":", ":0", ":65536", ":99999", ":-1", ":8 0", ":\u0668", ":1:2"])
@pytest.mark.parametrize("host", ["example.org", "[::1]"])
def test_what_is_no_port(host: str, port: str):
    with pytest.raises(PortError):
        host_and_port(host + port)


def test_something_behind_an_ipv6_address_is_no_port():
    with pytest.raises(PortError):
        host_and_port("[::1]80")
