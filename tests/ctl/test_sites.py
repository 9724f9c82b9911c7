"""vmprobectl sites import: what catalogues know becomes site files, and what a person wrote stays."""

import errno
import os
import subprocess
import sys

import pytest

from running import PROBES
from vmprobe.core.errors import ClientError
from vmprobe.ctl.config import output as tree
from vmprobe.ctl.sites import catalogue, sync
from vmprobe.host import files
from vmprobe.site import site

GOCDB = """\
<?xml version="1.0" encoding="UTF-8"?>
<results>
  <SERVICE_ENDPOINT PRIMARY_KEY="6513G0">
    <PRIMARY_KEY>6513G0</PRIMARY_KEY>
    <HOSTNAME>keystone.cesga.example.org</HOSTNAME>
    <BETA>N</BETA>
    <SERVICE_TYPE>org.openstack.nova</SERVICE_TYPE>
    <IN_PRODUCTION>Y</IN_PRODUCTION>
    <NODE_MONITORED>Y</NODE_MONITORED>
    <SITENAME>CESGA</SITENAME>
    <COUNTRY_NAME>Spain</COUNTRY_NAME>
    <COUNTRY_CODE>ES</COUNTRY_CODE>
    <ROC_NAME>NGI_IBERGRID</ROC_NAME>
    <URL>https://keystone.cesga.example.org:5000/v3</URL>
  </SERVICE_ENDPOINT>
  <SERVICE_ENDPOINT PRIMARY_KEY="1G0">
    <SERVICE_TYPE>org.openstack.nova</SERVICE_TYPE>
    <IN_PRODUCTION>Y</IN_PRODUCTION>
    <NODE_MONITORED>N</NODE_MONITORED>
    <SITENAME>OFF</SITENAME>
    <URL>https://off.example.org:5000/v3</URL>
  </SERVICE_ENDPOINT>
  <SERVICE_ENDPOINT PRIMARY_KEY="2G0">
    <SERVICE_TYPE>CREAM-CE</SERVICE_TYPE>
    <SITENAME>CESGA</SITENAME>
    <URL>https://ce.example.org</URL>
  </SERVICE_ENDPOINT>
</results>
"""
GLUE = """\
version: 1

dn: GLUE2EndpointID=https://keystone.cesga.example.org:5000/v3_openstack,GLUE2
 ServiceID=cloud.compute,GLUE2GroupID=cloud,GLUE2DomainID=CESGA,GLUE2GroupID=
 grid,o=glue
objectClass: GLUE2Endpoint
objectClass: GLUE2ComputingEndpoint
GLUE2EndpointInterfaceName: org.openstack.nova
GLUE2EndpointURL:: aHR0cHM6Ly9rZXlzdG9uZS5jZXNnYS5leGFtcGxlLm9yZzo1MDAwL3Yz

dn: GLUE2EndpointID=other,GLUE2DomainID=CESGA,GLUE2GroupID=grid,o=glue
objectClass: GLUE2Endpoint
GLUE2EndpointInterfaceName: SRM
GLUE2EndpointURL: httpg://srm.example.org

dn: GLUE2DomainID=CESGA,GLUE2GroupID=grid,o=glue
objectClass: GLUE2Domain
"""
CSV = (
    "name,manager,url,vo,country\none,memory,memory://one,ops,es\ntwo,memory,memory://two,fusion,\n"
)
NAME = "CESGA-keystone.cesga.example.org"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text(CSV)
    return path


@pytest.fixture
def output(tmp_path):
    path = tmp_path / "sites"
    path.mkdir()
    return path


def sites_import(form, place, output, *options):
    """(exit code, stdout, stderr) of vmprobectl sites import."""
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "sites",
            "import",
            "--from",
            form,
            str(place),
            "--output",
            str(output),
            *options,
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


# --- catalogues ---------------------------------------------------------------------------------------------------


def test_gocdb_names_what_is_monitored_and_has_a_driver(tmp_path):
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


def test_a_glue_dump_names_the_same_site(tmp_path):
    (tmp_path / "glue.ldif").write_text(GLUE)

    found = catalogue.read("glue", str(tmp_path / "glue.ldif"))

    assert found == (
        [
            (
                NAME,
                {
                    ("site", "name"): NAME,
                    ("endpoint", "manager"): "openstack",
                    ("endpoint", "url"): "https://keystone.cesga.example.org:5000/v3",
                    ("labels", "site"): "CESGA",
                },
            )
        ],
        1,
        [],
    )


def test_a_namespace_makes_no_difference(tmp_path):
    (tmp_path / "gocdb.xml").write_text(
        GOCDB.replace("<results>", '<results xmlns="https://goc.example.org/schema">')
    )

    assert [
        entry.name for entry in catalogue.read("gocdb", str(tmp_path / "gocdb.xml")).entries
    ] == [NAME]


def test_a_service_without_a_url_has_those_of_its_endpoints_that_are_monitored(tmp_path):
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


@pytest.mark.parametrize(
    "line", ["GLUE2EndpointServingState: closed", "GLUE2EndpointServingState: draining"]
)
def test_a_glue_endpoint_that_takes_no_more_work_is_passed_over(tmp_path, line):
    (tmp_path / "glue.ldif").write_text(GLUE.replace("objectClass: GLUE2ComputingEndpoint", line))

    assert catalogue.read("glue", str(tmp_path / "glue.ldif")) == ([], 2, [])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(
            "objectClass: GLUE2ComputingEndpoint", "GLUE2EntityName: a\u2028b\x85c"
        ),
    ],
    ids=["crlf", "bom", "line-breaks-of-unicode"],
)
def test_a_glue_dump_of_another_system_is_read_the_same(tmp_path, change):
    (tmp_path / "glue.ldif").write_bytes(change(GLUE).encode())

    assert [
        entry.name for entry in catalogue.read("glue", str(tmp_path / "glue.ldif")).entries
    ] == [NAME]


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        "\ufeff" + CSV,
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.replace("\n", "\r\n"),
        '"name","manager","url","vo","country"\n"one","memory","memory://one","ops","es"\n\ntwo,memory,memory://two,fusion,\n',
    ],
    ids=["plain", "bom", "semicolon", "tab", "crlf", "quoted"],
)
def test_a_table_of_any_spreadsheet_is_read_the_same(table, text):
    table.write_bytes(text.encode())

    found = catalogue.read("csv", str(table))

    assert [dict(entry.values) for entry in found.entries] == [
        {
            ("site", "name"): "one",
            ("endpoint", "manager"): "memory",
            ("endpoint", "url"): "memory://one",
            ("labels", "vo"): "ops",
            ("labels", "country"): "es",
        },
        {
            ("site", "name"): "two",
            ("endpoint", "manager"): "memory",
            ("endpoint", "url"): "memory://two",
            ("labels", "vo"): "fusion",
            ("labels", "country"): "",
        },
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


@pytest.mark.parametrize(
    "form, text, words",
    [
        ("gocdb", "<results>", "is no XML: "),
        (
            "gocdb",
            '<?xml version="1.0" encoding="klingon"?><results/>',
            "is no XML: unknown encoding",
        ),
        (
            "gocdb",
            '<?xml version="1.0" encoding="shift_jis"?><results/>',
            "is no XML: multi-byte encodings are not supported",
        ),
        (
            "gocdb",
            "<html><body>Log in</body></html>",
            "begins with <html>; an export of GOCDB begins with <results>",
        ),
        ("csv", "name,manager,url\n,memory,b\n", "line 2: has no name"),
        (
            "csv",
            f"name,manager,url\n{200000 * 'a'},memory,b\n",
            "line 2: field larger than field limit",
        ),
        ("glue", "dn: a\nnonsense\n", "'nonsense' is not a line of LDIF"),
        ("glue", "dn: a\nb:: %%%\n", "'b:: %%%' is not base64"),
        ("csv", "name,url\na,b\n", "has no column manager; name, manager and url are needed"),
        (
            "csv",
            "name,manager,url\na,b\n",
            "line 2: has 2 columns, the first line has 3",
        ),
    ],
)
def test_what_is_no_catalogue_is_named(tmp_path, output, form, text, words):
    (tmp_path / "it").write_text(text)

    code, said, errors = sites_import(form, tmp_path / "it", output)

    assert (code, said, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"vmprobectl: {tmp_path}/it") and words in errors


# --- files --------------------------------------------------------------------------------------------------------


def test_new_sites_are_whole_site_files(table, output):
    assert sites_import("csv", table, output) == (
        0,
        "one: added\ntwo: added\n2 sites found, 0 services skipped\n",
        "",
    )

    one = site.load(str(output / "one.ini"))
    assert (one.name, one.endpoint["url"], one.labels) == (
        "one",
        "memory://one",
        {"vo": "ops", "country": "es"},
    )


def test_the_defaults_complete_a_new_site_and_the_catalogue_goes_first(table, output, tmp_path):
    (tmp_path / "defaults.ini").write_text(
        "[endpoint]\nurl = memory://never\n[budget]\ndeadline = 120 s ; short\n"
    )

    sites_import("csv", table, output, "--defaults", str(tmp_path / "defaults.ini"))

    one = site.load(str(output / "one.ini"))
    assert (one.endpoint["url"], one.deadline) == ("memory://one", 120.0)


def test_the_second_time_there_is_nothing_to_do(table, output):
    sites_import("csv", table, output)
    before = {path.name: path.stat().st_ino for path in output.iterdir()}

    assert sites_import("csv", table, output) == (0, "2 sites found, 0 services skipped\n", "")
    assert {path.name: path.stat().st_ino for path in output.iterdir()} == before


def test_what_changed_there_changes_here_and_nothing_else_does(table, output):
    sites_import("csv", table, output)
    path = output / "one.ini"
    path.write_text(
        path.read_text().replace("url = memory://one", "url   =  memory://one   ; theirs")
        + "\n[schedule]\ninterval = 2 h\n"
    )
    before = path.read_text()
    table.write_text(CSV.replace("memory://one", "memory://new"))

    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: [endpoint] url is now memory://new"
    )
    assert path.read_text() == before.replace("memory://one", "memory://new")


def test_what_a_person_changed_stays_and_is_told(table, output):
    sites_import("csv", table, output)
    path = output / "one.ini"
    path.write_text(path.read_text().replace("memory://one", "memory://mine"))
    table.write_text(CSV.replace("memory://one", "memory://new"))

    assert sites_import("csv", table, output)[1].splitlines()[0] == (
        "one: [endpoint] url was edited by hand; not changed to memory://new"
    )
    assert "url = memory://mine" in path.read_text()


def test_what_the_catalogue_knows_from_now_on_is_added_and_a_person_s_key_stays(table, output):
    sites_import("csv", table, output)
    path = output / "two.ini"
    path.write_text(
        path.read_text().replace("image = vmprobe-test", "image = vmprobe-test\nflavor = mine")
    )
    before = {name: (output / name).read_text() for name in ("one.ini", "two.ini")}
    table.write_text(
        CSV.replace("country", "flavor").replace(",es", ",tiny").replace(",fusion,", ",fusion,tiny")
    )

    assert sites_import("csv", table, output)[1].splitlines()[:2] == [
        "one: [test vm] flavor is now tiny",
        "two: [test vm] flavor was edited by hand; not changed to tiny",
    ]
    assert (output / "one.ini").read_text() == before["one.ini"].replace(
        "image = vmprobe-test", "image = vmprobe-test\nflavor = tiny"
    )
    assert (output / "two.ini").read_text() == before["two.ini"]


def test_a_change_that_would_be_no_site_file_is_refused_each_time_and_the_next_good_one_is_made(
    table, output
):
    sites_import("csv", table, output)
    table.write_text(CSV.replace("memory,memory://one", "pigeon,memory://one"))
    for _ in range(2):
        assert (
            sites_import("csv", table, output)[1]
            .splitlines()[0]
            .startswith("one: refused: one.ini [endpoint] manager: 'pigeon' is ")
        )

    table.write_text(CSV.replace("memory://one", "memory://new"))
    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: [endpoint] url is now memory://new"
    )


def test_two_entries_that_come_to_one_name_are_told_and_the_first_is_taken(table, output):
    table.write_text(
        "name,manager,url\nA B,memory,memory://one\nA/B,memory,memory://two\n../../A B,memory,memory://one\n"
    )

    assert sites_import("csv", table, output)[1].splitlines() == [
        "A-B: appears twice; [endpoint] url is memory://one in the first entry, which is used, and memory://two in another",
        "A-B: added",
        "1 site found, 0 services skipped",
    ]
    assert "memory://one" in (output / "A-B.ini").read_text()


def test_what_an_import_that_was_cut_off_wrote_is_still_its_own(table, output):
    sites_import("csv", table, output)
    (output / ".vmprobe-import.json").unlink()  # as it is written last
    assert sites_import("csv", table, output) == (0, "2 sites found, 0 services skipped\n", "")
    memory = (output / ".vmprobe-import.json").read_bytes()
    table.write_text(CSV.replace("memory://one", "memory://new"))
    sites_import("csv", table, output)
    (output / ".vmprobe-import.json").write_bytes(memory)

    assert sites_import("csv", table, output) == (0, "2 sites found, 0 services skipped\n", "")
    table.write_text(CSV)
    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: [endpoint] url is now memory://one"
    )


def test_a_site_file_can_be_read_by_the_monitoring_user_and_its_mode_stays(table, output):
    sites_import("csv", table, output)
    assert {path.stat().st_mode & 0o777 for path in output.glob("*.ini")} == {0o644}
    (output / "one.ini").chmod(0o640)
    table.write_text(CSV.replace("memory://", "memory://new-"))

    sites_import("csv", table, output)
    assert [(output / name).stat().st_mode & 0o777 for name in ("one.ini", "two.ini")] == [
        0o640,
        0o644,
    ]


def test_a_directory_that_is_none_is_named(table, tmp_path):
    assert sites_import("csv", table, tmp_path / "nowhere") == (
        1,
        "",
        f"vmprobectl: {tmp_path}/nowhere: No such directory\n",
    )


def test_a_site_that_is_no_longer_found_is_told_and_stays(table, output):
    sites_import("csv", table, output)
    table.write_text("\n".join(CSV.splitlines()[:2]) + "\n")

    assert sites_import("csv", table, output)[1].splitlines()[0] == (
        "two: no longer found; its file stays, remove it if that is right"
    )
    assert (output / "two.ini").exists()


def test_a_file_that_somebody_else_wrote_or_removed_stays_so(table, output):
    (output / "one.ini").write_text("; mine\n")
    sites_import("csv", table, output)
    (output / "two.ini").unlink()

    assert sites_import("csv", table, output)[1].splitlines()[:2] == [
        "one: a file that somebody else wrote exists; it stays as it is",
        "two: its file was removed by somebody; not written again",
    ]
    assert (output / "one.ini").read_text() == "; mine\n"


def test_what_would_be_no_site_file_is_refused_and_the_others_are_written(table, output):
    table.write_text(CSV.replace("memory,memory://one", "pigeon,memory://one"))

    code, said, _ = sites_import("csv", table, output)

    assert code == 0
    assert said.splitlines()[0].startswith(
        "one: refused: one.ini [endpoint] manager: 'pigeon' is neither one of memory, "
    )
    assert sorted(path.name for path in output.glob("*.ini")) == ["two.ini"]


def test_check_writes_nothing_and_exits_1(table, output):
    assert sites_import("csv", table, output, "--check")[0] == 1
    assert list(output.iterdir()) == []
    sites_import("csv", table, output)

    assert sites_import("csv", table, output, "--check") == (
        0,
        "2 sites found, 0 services skipped\n",
        "",
    )
    table.write_text(CSV.splitlines()[0] + "\n")
    assert sites_import("csv", table, output, "--check")[0] == 0, (
        "there is something to tell, and nothing to write"
    )


# --- a part of a catalogue -----------------------------------------------------------------------------------------

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


def test_services_that_gocdb_counts_and_that_are_not_there_are_missed(tmp_path, output):
    (tmp_path / "gocdb.xml").write_text(paged(next_page=False, count="7", most=""))

    assert sites_import("gocdb", tmp_path / "gocdb.xml", output)[::2] == (
        1,
        f"vmprobectl: {tmp_path}/gocdb.xml: is cut off: it claims to have 7 services, but has 3\n",
    )


SIZE_LIMIT = "server ended it with '4 Size limit exceeded'"


@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda text: text + "\n# search result\nsearch: 2\nresult: 4 Size limit exceeded\n",
            SIZE_LIMIT,
        ),
        (
            lambda text: text + "\n# search result\n# search: 2\n# result: 4 Size limit exceeded\n",
            SIZE_LIMIT,
        ),
        (
            lambda text: text + "\nsearch: 2\r\nresult: 3 Time limit exceeded\r\n",
            "server ended it with '3 Time limit exceeded'",
        ),
        (
            lambda text: text + "\n# search reference\nref: ldap://other.example.org/o=glue??sub\n",
            "the rest is on another server (search reference)",
        ),
        (
            lambda text: text + "\n# refldap://other.example.org/o=glue??sub\n",
            "the rest is on another server (search reference)",
        ),
        (
            lambda text: (
                text
                + "\nresult: 0 Success\ncontrol: 1.2.840.113556.1.4.319 false MAUC\npagedresults: cookie=AQAAAA==\n"
            ),
            "ldapsearch stopped before the last one; use -E pr=200/noprompt",
        ),
        (
            lambda text: text + "\nresult: 0 Success\n\n# numResponses: 201\n# numEntries: 200\n",
            "it claims to have 200 entries, but has 3",
        ),
        (
            lambda text: "# extended LDIF\n#\n# LDAPv3\n" + text + "\n# search result\nsearch: 2\n",
            "the result that ldapsearch writes at the end is missing",
        ),
        (
            lambda text: "version: 1\n\n#\n# LDAPv3\n" + text,
            "the result that ldapsearch writes at the end is missing",
        ),
        (lambda text: text[:-9], "in the middle of its last line"),
    ],
    ids=[
        "size",
        "size-in-a-comment",
        "time",
        "reference",
        "reference-in-a-comment",
        "page",
        "number",
        "no-end",
        "no-end-with-l",
        "cut",
    ],
)
def test_a_glue_dump_that_says_that_it_is_a_part_is_refused(tmp_path, output, change, words):
    (tmp_path / "glue.ldif").write_text(change(GLUE))

    code, said, errors = sites_import("glue", tmp_path / "glue.ldif", output)

    assert (code, said, errors.count("\n"), list(output.iterdir())) == (1, "", 1, [])
    assert errors.startswith(f"vmprobectl: {tmp_path}/glue.ldif: is ") and errors.endswith(
        f"{words}\n"
    )


def test_a_glue_dump_that_says_that_it_is_whole_is_read(tmp_path):
    ends = "\n# search result\nsearch: 2\nresult: 0 Success\ncontrol: 1.2.840.113556.1.4.319 false MAUC\npagedresults: cookie=\n\n# numResponses: 3\n# numEntries: {}\n"
    (tmp_path / "glue.ldif").write_text(
        "# extended LDIF\n#\n# LDAPv3\n" + GLUE + ends.format(2) + ends.format(3)
    )

    assert [
        entry.name for entry in catalogue.read("glue", str(tmp_path / "glue.ldif")).entries
    ] == [NAME]


@pytest.mark.parametrize("text", ["", "\n", "version: 1\n"], ids=["empty", "blank", "version"])
def test_a_glue_dump_without_any_entry_is_refused(tmp_path, output, text):
    (tmp_path / "glue.ldif").write_text(text)  # as it is where ldapsearch could not be started

    assert sites_import("glue", tmp_path / "glue.ldif", output) == (
        1,
        "",
        f"vmprobectl: {tmp_path}/glue.ldif: has no entry, so it is not a catalogue\n",
    )


def test_a_glue_dump_that_may_end_within_an_entry_is_read_and_its_last_line_is_shown(
    tmp_path, output
):
    whole = GLUE[: GLUE.index("dn: GLUE2EndpointID=other")]
    cut = whole[: whole.index("GLUE2EndpointURL")]
    place = tmp_path / "glue.ldif"

    for text, told in (
        (whole, []),
        (whole.replace("\n", "\r\n"), []),
        (whole[:-1], [whole.split("\n")[-3]]),
        (cut, [cut.split("\n")[-2]]),
        (whole[:-1] + "# numEntries: 1\n", []),
        (whole[:-1] + "result: 0 Success\n", []),
    ):
        place.write_bytes(text.encode())
        assert catalogue.read("glue", str(place)).notes == [
            f"{place}: there is no blank line after its last entry; check that it is complete: {line}"
            for line in told
        ]


def test_a_table_that_ends_within_a_quoted_cell_is_refused(table, output):
    table.write_text('name,manager,url,notes\none,memory,memory://one,"a note, and it is\n')

    assert sites_import("csv", table, output)[::2] == (
        1,
        f"vmprobectl: {table} line 2: unexpected end of data\n",
    )


def test_a_table_without_a_line_end_is_read_and_its_last_line_is_shown(table, output):
    table.write_text(CSV[:-10])  # some spreadsheets write none

    assert sites_import("csv", table, output) == (
        1,
        "",
        f"vmprobectl: {table} line 3: has 3 columns, the first line has 5\n",
    )

    table.write_text(CSV[:-1])
    assert sites_import("csv", table, output)[1].splitlines() == [
        f"{table}: its last line has no line end; check that it is complete: two,memory,memory://two,fusion,",
        "one: added",
        "two: added",
        "2 sites found, 0 services skipped",
    ]


# --- columns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column, shown",
    [
        ('"a = b\n[verdict]\nauth = OK\nsubmit"', "a = b [verdict] auth = ok submit"),
        ("a:b", "a:b"),
        ("a=b", "a=b"),
        ("[verdict]", "[verdict]"),
        ("; note", "; note"),
        ("# note", "# note"),
        ("two words", "two words"),
        ("a\x1b[2J", "a [2j"),
        ("\u00fcber", "?ber"),
        ("9a", "9a"),
        ("a\u2028b", "a b"),
        ("a\x85b", "a b"),
    ],
    ids=range(12),
)
def test_a_column_that_could_be_no_label_is_refused_by_its_name(table, output, column, shown):
    table.write_bytes(f"name,manager,url,{column}\none,memory,memory://one,x\n".encode())

    assert sites_import("csv", table, output) == (
        1,
        "",
        f"vmprobectl: {table}: column '{shown}' is not a word of lower-case letters, digits and '_'\n",
    )
    assert list(output.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    ['"a\n[verdict]\nauth = OK"', "; gone", "a ; gone", "a\x1b[2J", "a\x9b2J", '"a\r[b]"'],
    ids=range(6),
)
def test_a_value_that_would_not_stay_what_it_is_is_refused(table, output, value):
    table.write_bytes(f"name,manager,url,note\none,memory,memory://one,{value}\n".encode())

    code, said, errors = sites_import("csv", table, output)

    assert (code, errors, list(output.glob("*.ini"))) == (0, "", [])
    assert said.startswith("one: refused: [labels] note: ") and said.splitlines()[0].endswith(
        "cannot stand in a site file"
    )


def test_a_column_that_is_there_twice_is_refused(table, output):
    table.write_text("name,manager,url,Flavor,flavor\none,memory,memory://one,a,b\n")

    assert sites_import("csv", table, output)[::2] == (
        1,
        f"vmprobectl: {table}: column flavor appears twice\n",
    )


def test_columns_may_be_in_capitals_and_what_is_empty_is_passed_over(table, output):
    table.write_text("Name,MANAGER,Url,Country,,\none,memory,memory://one,es,,\n,,,,,\n")

    assert sites_import("csv", table, output)[::2] == (0, "")
    assert site.load(str(output / "one.ini")).labels == {"country": "es"}

    table.write_text("name,manager,url,\none,memory,memory://one,what\n")
    assert (
        sites_import("csv", table, output)[2]
        == f"vmprobectl: {table} line 2: has a value in a column without a name\n"
    )


# --- what the catalogue says no more -------------------------------------------------------------------------------

EMPTIED = "name,manager,url,flavor,country,image\none,memory,memory://one,{},{},{}\n"


def test_a_cell_that_was_emptied_takes_effect_and_is_told(table, output):
    table.write_text(EMPTIED.format("m1.tiny", "es", "mine"))
    sites_import("csv", table, output)
    table.write_text(EMPTIED.format("", "", ""))

    assert sites_import("csv", table, output) == (
        0,
        "one: [labels] country is removed; it was es\none: [test vm] flavor is removed; it was m1.tiny\n"
        "one: [test vm] image is now vmprobe-test\n1 site found, 0 services skipped\n",
        "",
    )
    assert (output / "one.ini").read_text() == (
        "; From csv. What a person changes here stays as it is.\n[site]\nname = one\n\n[endpoint]\nmanager = memory\nurl = memory://one\n\n"
        "[test vm]\nimage = vmprobe-test\n\n[labels]\n"
    )
    assert sites_import("csv", table, output) == (0, "1 site found, 0 services skipped\n", "")

    table.write_text(EMPTIED.format("m1.small", "pt", "other"))
    assert sites_import("csv", table, output)[1].splitlines()[:3] == [
        "one: [labels] country is now pt",
        "one: [test vm] flavor is now m1.small",
        "one: [test vm] image is now other",
    ]
    found = site.load(str(output / "one.ini"))
    assert (found.labels, found.test_vm["flavor"], found.test_vm["image"]) == (
        {"country": "pt"},
        "m1.small",
        "other",
    )


def test_an_emptied_cell_leaves_what_a_person_changed(table, output):
    table.write_text(EMPTIED.format("m1.tiny", "es", ""))
    sites_import("csv", table, output)
    path = output / "one.ini"
    path.write_text(path.read_text().replace("m1.tiny", "mine"))
    table.write_text(EMPTIED.format("", "es", ""))

    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: [test vm] flavor was edited by hand; not removed"
    )
    assert "flavor = mine\n" in path.read_text()


def test_an_emptied_cell_that_a_site_file_needs_is_refused(table, output):
    sites_import("csv", table, output)
    table.write_text(CSV.replace("one,memory,", "one,,"))

    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: refused: one.ini [endpoint] manager: this key is missing"
    )
    assert site.load(str(output / "one.ini")).endpoint["manager"] == "memory"


def test_a_label_that_gocdb_leaves_out_from_now_on_is_taken_out(tmp_path, output):
    place = tmp_path / "gocdb.xml"
    place.write_text(GOCDB)
    sites_import("gocdb", place, output)
    place.write_text(GOCDB.replace("    <COUNTRY_CODE>ES</COUNTRY_CODE>\n", ""))

    assert (
        sites_import("gocdb", place, output)[1].splitlines()[0]
        == f"{NAME}: [labels] country is removed; it was es"
    )
    assert site.load(str(output / f"{NAME}.ini")).labels == {"site": "CESGA", "ngi": "NGI_IBERGRID"}


def test_a_column_that_is_gone_leaves_what_it_said_and_is_told(table, output):
    sites_import("csv", table, output)
    table.write_text(
        "name,manager,url,country\none,memory,memory://one,es\ntwo,memory,memory://two,\n"
    )

    assert sites_import("csv", table, output)[1].splitlines()[0] == (
        "[labels] vo: the catalogue no longer has this field; it stays in 2 site files, remove it there if that is right"
    )
    assert site.load(str(output / "one.ini")).labels == {"vo": "ops", "country": "es"}


# --- capitals ------------------------------------------------------------------------------------------------------


def test_capitals_of_a_host_a_service_or_an_answer_make_no_difference(tmp_path, output):
    place = tmp_path / "gocdb.xml"
    place.write_text(GOCDB)
    sites_import("gocdb", place, output)
    before = (output / f"{NAME}.ini").read_bytes()
    place.write_text(
        GOCDB.replace(
            "https://keystone.cesga.example.org:5000", "HTTPS://Keystone.CESGA.Example.ORG:5000"
        )
        .replace("org.openstack.nova", "org.openstack.Nova")
        .replace("<NODE_MONITORED>N<", "<NODE_MONITORED>n<")
    )

    assert sites_import("gocdb", place, output) == (0, "1 site found, 2 services skipped\n", "")
    assert (output / f"{NAME}.ini").read_bytes() == before


def test_capitals_of_a_manager_in_a_table_make_no_difference(table, output):
    sites_import("csv", table, output)
    table.write_text(CSV.replace("one,memory", "one,Memory").replace("two,memory", "two,MEMORY"))

    assert sites_import("csv", table, output) == (0, "2 sites found, 0 services skipped\n", "")


# --- files of people -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["crlf", "bom", "both"])
def test_a_site_file_of_another_editor_keeps_its_form(table, output, form):
    sites_import("csv", table, output)
    path = output / "one.ini"
    text = path.read_text().replace("; From csv. What a person changes here stays as it is.\n", "")
    text = text.replace("\n", "\r\n") if form != "bom" else text
    before = text.encode("utf-8" if form == "crlf" else "utf-8-sig")
    path.write_bytes(before)
    table.write_text(
        CSV.replace("memory://one", "memory://new")
        .replace("vo,country", "vo,country,flavor")
        .replace(",es\n", ",es,tiny\n")
        .replace("fusion,\n", "fusion,,\n")
    )
    end = b"\n" if form == "bom" else b"\r\n"

    assert sites_import("csv", table, output)[1].splitlines()[:2] == [
        "one: [endpoint] url is now memory://new",
        "one: [test vm] flavor is now tiny",
    ]
    assert path.read_bytes() == before.replace(b"memory://one", b"memory://new").replace(
        b"vmprobe-test" + end, b"vmprobe-test" + end + b"flavor = tiny" + end
    )


def test_a_value_that_a_person_continued_in_the_next_line_is_the_persons(table, output):
    table.write_text("name,manager,url,notes\none,memory,memory://one,call Eva\n")
    sites_import("csv", table, output)
    path = output / "one.ini"
    path.write_text(
        path.read_text().replace("notes = call Eva\n", "notes = call Eva\n  url = is no key here\n")
    )
    before = path.read_text()
    table.write_text("name,manager,url,notes,contact\none,memory,memory://one,call Ada,ada\n")

    assert sites_import("csv", table, output)[1].splitlines()[:2] == [
        "one: [site] contact is now ada",
        "one: [site] notes was edited by hand; not changed to call Ada",
    ]
    assert path.read_text() == before.replace("is no key here\n", "is no key here\ncontact = ada\n")


def test_a_word_of_a_section_that_the_file_has_not_gets_one(table, output):
    table.write_text("name,manager,url\none,memory,memory://one\n")
    sites_import("csv", table, output)
    table.write_text("name,manager,url,vo\none,memory,memory://one,ops\n")

    assert sites_import("csv", table, output)[1].splitlines()[0] == "one: [labels] vo is now ops"
    assert site.load(str(output / "one.ini")).labels == {"vo": "ops"}


def test_what_is_not_utf8_is_named_and_left_alone(table, output, tmp_path):
    (output / "one.ini").write_bytes("[site]\nnotes = J\u00fcrgen\n".encode("latin-1"))
    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: a file that somebody else wrote exists; it stays as it is"
    )

    (output / "two.ini").write_bytes(
        (output / "two.ini").read_bytes() + "; J\u00fcrgen\n".encode("latin-1")
    )
    table.write_text(CSV.replace("memory://two", "memory://new"))
    assert (
        sites_import("csv", table, output)[1].splitlines()[1]
        == "two: refused: two.ini: is not UTF-8 text"
    )

    (tmp_path / "defaults.ini").write_bytes("[site]\ncontact = J\u00fcrgen\n".encode("latin-1"))
    assert sites_import("csv", table, output, "--defaults", str(tmp_path / "defaults.ini")) == (
        1,
        "",
        f"vmprobectl: --defaults {tmp_path}/defaults.ini: is not UTF-8 text\n",
    )


def test_defaults_may_begin_with_the_mark_of_an_editor(table, output, tmp_path):
    (tmp_path / "defaults.ini").write_bytes("\ufeff[site]\r\ncontact = Zo\u00eb\r\n".encode())

    assert sites_import("csv", table, output, "--defaults", str(tmp_path / "defaults.ini"))[0] == 0
    assert site.load(str(output / "one.ini")).about == {"contact": "Zo\u00eb"}


def test_a_site_file_that_is_a_link_stays_one_and_one_that_is_a_pipe_is_not_waited_for(
    table, output, tmp_path
):
    sites_import("csv", table, output)
    (output / "one.ini").replace(tmp_path / "kept.ini")
    (output / "one.ini").symlink_to(tmp_path / "kept.ini")
    (output / "two.ini").unlink()
    os.mkfifo(output / "two.ini")
    table.write_text(CSV.replace("memory://", "memory://new-"))

    assert sites_import("csv", table, output)[1].splitlines()[:2] == [
        "one: [endpoint] url is now memory://new-one",
        "two: refused: two.ini: is not a regular file",
    ]
    assert (output / "one.ini").is_symlink() and site.load(str(tmp_path / "kept.ini")).endpoint[
        "url"
    ] == "memory://new-one"


def test_two_imports_do_not_write_at_once(table, output):
    with tree.locked(str(output)):
        assert sites_import("csv", table, output) == (
            1,
            "",
            f"vmprobectl: {output}: another run of vmprobectl writes here\n",
        )
        assert sites_import("csv", table, output, "--check")[0] == 1
    assert list(output.iterdir()) == []


def test_a_disk_that_is_full_ends_an_import_and_the_next_one_goes_on(table, output, monkeypatch):
    real, room = files.replace, iter([True, False, True])

    def replace(path, text, mode):
        if not next(room):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, text, mode)

    monkeypatch.setattr(files, "replace", replace)
    with pytest.raises(OSError, match="No space left on device"):
        sync.sync(catalogue.read("csv", str(table)), "csv", str(output))
    assert [path.name for path in output.glob("*.ini")] == ["one.ini"]
    monkeypatch.undo()

    table.write_text(CSV.replace("memory://", "memory://new-"))
    assert sites_import("csv", table, output)[1].splitlines()[:2] == [
        "one: [endpoint] url is now memory://new-one",
        "two: added",
    ]
