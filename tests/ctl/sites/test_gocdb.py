"""Sites from GOCDB: which services become sites, and that a part of an export is refused."""

import pytest

from importing import GOCDB, NAME, sites_import
from vmprobe.core.errors import ClientError
from vmprobe.ctl.sites import catalogue


def test_monitored_services_with_a_driver_become_sites(tmp_path):
    (tmp_path / "gocdb.xml").write_text(GOCDB)

    found = catalogue.read("gocdb", str(tmp_path / "gocdb.xml"))

    assert found == (
        [
            (
                NAME,
                {
                    ("site", "name"): NAME,
                    ("endpoint", "manager"): "openstack",
                    ("endpoint", "url"): "https://keystone.cesga.example.org:5000/v3",
                    ("labels", "site"): "CESGA",
                    ("labels", "country"): "es",
                    ("labels", "ngi"): "NGI_IBERGRID",
                },
            )
        ],
        2,
        [],
    )


def test_a_namespace_makes_no_difference(tmp_path):
    (tmp_path / "gocdb.xml").write_text(
        GOCDB.replace("<results>", '<results xmlns="https://goc.example.org/schema">')
    )

    assert [
        entry.name for entry in catalogue.read("gocdb", str(tmp_path / "gocdb.xml")).entries
    ] == [NAME]


def test_a_service_without_a_url_uses_those_of_its_monitored_endpoints(tmp_path):
    endpoints = "".join(
        f"<ENDPOINT><URL>{url}</URL><ENDPOINT_MONITORED>{word}</ENDPOINT_MONITORED></ENDPOINT>"
        for url, word in (
            ("", "Y"),
            ("https://a.example.org/v3", "Y"),
            ("https://off.example.org/v3", "N"),
            ("https://b.example.org:8787/?image=sl6&amp;resource=small", "Y"),
            ("https://a.example.org/v2.0", "Y"),
        )
    )
    (tmp_path / "gocdb.xml").write_text(
        "<results><SERVICE_ENDPOINT><SERVICE_TYPE>org.openstack.nova</SERVICE_TYPE><SITENAME>S</SITENAME><URL/>"
        f"<ENDPOINTS>{endpoints}</ENDPOINTS></SERVICE_ENDPOINT></results>"
    )

    found = catalogue.read("gocdb", str(tmp_path / "gocdb.xml"))

    assert [(entry.name, entry.values["endpoint", "url"]) for entry in found.entries] == [
        ("S-a.example.org", "https://a.example.org/v3"),
        ("S-b.example.org", "https://b.example.org:8787/"),
    ]
    assert found.notes == [
        "S-a.example.org: appears twice; [endpoint] url is https://a.example.org/v3 in the first entry, "
        "which is used, and https://a.example.org/v2.0 in another"
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_in_any_encoding(tmp_path, encoding):
    bomb = "<!DOCTYPE a [<!ENTITY b 'cc'><!ENTITY d '&b;&b;'>]><results>&d;</results>"
    (tmp_path / "gocdb.xml").write_bytes(
        f'<?xml version="1.0" encoding="{encoding}"?>{bomb}'.encode(encoding)
    )

    with pytest.raises(
        ClientError,
        match="has a document type, which could expand entities; GOCDB's exports have none$",
    ):
        catalogue.read("gocdb", str(tmp_path / "gocdb.xml"))


URL = (
    "https://goc.example.org/gocdbpi/public/?method=get_service&amp;service_type=org.openstack.nova"
)


def paged(own="", next_page=True, count="3", most="<max_page_size>3</max_page_size>"):
    """GOCDB's three services with what it says of the page."""
    links = (
        f'<link rel="self" href="{URL}{own}"/>'
        + f'<link rel="next" href="{URL}&amp;next_cursor=99"/>' * next_page
    )
    return GOCDB.replace("<results>", f"<results><meta>{links}<count>{count}</count>{most}</meta>")


@pytest.mark.parametrize(
    "text",
    [
        paged(),
        paged(most=""),
        paged(count="", most=""),
        paged(own="&amp;next_cursor=7", next_page=False, count="3", most=""),
        paged(own="&amp;prev_cursor=7"),
        paged(own="&amp;page=2", next_page=False),
    ],
    ids=["full", "without-its-size", "a-link-only", "the-last", "backwards", "by-number"],
)
def test_one_page_of_gocdbs_is_refused(tmp_path, output, text):
    (tmp_path / "gocdb.xml").write_text(text)

    assert sites_import("gocdb", tmp_path / "gocdb.xml", output) == (
        1,
        "",
        f"vmprobectl: {tmp_path}/gocdb.xml: is one page of several; have GOCDB export all services at once, without next_cursor, "
        "or narrow the request\n",
    )
    assert list(output.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        paged(most="<max_page_size>100</max_page_size>"),
        paged(own="&amp;next_cursor=0", most="<max_page_size>100</max_page_size>"),
        paged(next_page=False),
    ],
    ids=["not-full", "from-the-start", "no-next"],
)
def test_the_only_page_of_gocdbs_is_read(tmp_path, text):
    (tmp_path / "gocdb.xml").write_text(text)

    assert [
        entry.name for entry in catalogue.read("gocdb", str(tmp_path / "gocdb.xml")).entries
    ] == [NAME]


def test_an_export_with_fewer_services_than_it_claims_is_refused(tmp_path, output):
    (tmp_path / "gocdb.xml").write_text(paged(next_page=False, count="7", most=""))

    assert sites_import("gocdb", tmp_path / "gocdb.xml", output)[::2] == (
        1,
        f"vmprobectl: {tmp_path}/gocdb.xml: is cut off: it claims to have 7 services, but has 3\n",
    )
