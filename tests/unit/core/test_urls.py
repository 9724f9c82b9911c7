"""How hosts, ports and origins are read out of URLs."""

import pytest

from vmprobe.core import urls


@pytest.mark.parametrize(
    "url, host",
    [
        ("https://Cloud.Example.ORG:5000/v3", "cloud.example.org"),
        ("https://user:secret@h/", "h"),
        ("http://[FE80::1]:8774", "fe80::1"),
        ("qemu+ssh://root@h:2222/system", "h"),
        ("qemu:///system", ""),
        ("no url", ""),
        ("", ""),
        ("http://[::1", ""),
    ],
)
def test_a_host_is_in_lower_case_and_stands_alone(url, host):
    assert urls.host(url) == host


@pytest.mark.parametrize(
    "url, origin",
    [
        ("https://h/v3", ("https", "h", 443)),
        ("HTTP://H", ("http", "h", 80)),
        ("http://user@[::1]:8774/x", ("http", "::1", 8774)),
    ],
)
def test_an_origin_has_the_port_of_its_scheme_where_none_is_written(url, origin):
    assert urls.origin(url) == origin


@pytest.mark.parametrize(
    "url", ["", "h:80", "ftp://h/", "http:///x", "http://h:0/", "http://h:x/", "http://[::1"]
)
def test_what_is_no_http_url_has_no_origin(url):
    with pytest.raises(ValueError):
        urls.origin(url)


@pytest.mark.parametrize(
    "url, authority",
    [
        ("https://h:443/", "h"),
        ("http://h:443/", "h:443"),
        ("http://[::1]/", "[::1]"),
        ("https://user@H:8774/", "h:8774"),
        ("socks5://h:1080", "h:1080"),
    ],
)
def test_a_host_header_leaves_out_the_port_of_the_scheme(url, authority):
    assert urls.authority(url) == authority


def test_another_port_replaces_port_user_and_path():
    assert urls.with_port("https://user@[::1]:2633/RPC2", 2634) == "https://[::1]:2634"
