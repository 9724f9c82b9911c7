"""Which site file a name or a host means."""

import pytest

from running import CHECKOUT
from vmprobe.core.errors import ClientError
from vmprobe.host import paths
from vmprobe.site import lookup


def test_a_site_is_found_by_name_and_by_host(probe):
    assert lookup.find("memory") == str(CHECKOUT / "etc" / "sites" / "memory.ini")
    assert lookup.find_by_host("memory") == lookup.find("memory")
    with pytest.raises(ClientError, match="no site file nowhere.ini in /etc/vmprobe/sites or "):
        lookup.find("nowhere")


def test_a_host_is_found_although_other_files_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "site_directories", lambda: [str(tmp_path), str(tmp_path / "none")])
    (tmp_path / "a.ini").write_text("no INI file\n")
    (tmp_path / "b.ini").write_text("[endpoint]\nurl = https://[half\n")
    (tmp_path / "c.ini").write_text("[endpoint]\nurl = https://cloud.example.org:5000/\n")

    assert lookup.find_by_host("cloud.example.org") == str(tmp_path / "c.ini")
    with pytest.raises(
        ClientError,
        match=r"no site file has the host x \(a.ini line 1: a key before the first \[section\]\); name one",
    ):
        lookup.find_by_host("x")
    (tmp_path / "d.ini").write_text("[site]\nname = cloud.example.org\n")
    with pytest.raises(
        ClientError,
        match="several site files have the host cloud.example.org: .*/c.ini, .*/d.ini; name one",
    ):
        lookup.find_by_host("cloud.example.org")


@pytest.mark.parametrize("host", ["Cloud.Example.ORG", "cloud.example.org.", "ONE", "one"])
def test_upper_and_lower_case_of_a_host_or_a_name_do_not_matter(tmp_path, monkeypatch, host):
    monkeypatch.setattr(paths, "site_directories", lambda: [str(tmp_path)])
    (tmp_path / "a.ini").write_text(
        "[site]\nname = One\n[endpoint]\nurl = HTTPS://CLOUD.example.org:5000/\n"
    )
    (tmp_path / "b.ini").write_text(
        "[site]\nname = Two\n[endpoint]\nurl = https://[2001:DB8::1]:5000/\n"
    )
    (tmp_path / "c.ini").write_text("[site]\nname = Three\n[endpoint]\nmanager = memory\n")

    assert lookup.find_by_host(host) == str(tmp_path / "a.ini")
    assert (
        lookup.find_by_host("[2001:db8::1]")
        == lookup.find_by_host("2001:DB8::1")
        == str(tmp_path / "b.ini")
    )
    for nothing in ("", ".", "[]"):
        with pytest.raises(ClientError, match="no site file has the host"):
            lookup.find_by_host(nothing)
