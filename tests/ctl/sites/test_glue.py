"""Sites from GLUE 2.0: which endpoints become sites, and that a part of a dump is refused."""

import pytest

from importing import GLUE, NAME, sites_import
from vmprobe.ctl.sites import catalogue


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


@pytest.mark.parametrize(
    "line", ["GLUE2EndpointServingState: closed", "GLUE2EndpointServingState: draining"]
)
def test_a_closed_or_draining_glue_endpoint_is_skipped(tmp_path, line):
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
def test_a_glue_dump_that_says_that_it_is_incomplete_is_refused(tmp_path, output, change, words):
    (tmp_path / "glue.ldif").write_text(change(GLUE))

    code, said, errors = sites_import("glue", tmp_path / "glue.ldif", output)

    assert (code, said, errors.count("\n"), list(output.iterdir())) == (1, "", 1, [])
    assert errors.startswith(f"vmprobectl: {tmp_path}/glue.ldif: is ") and errors.endswith(
        f"{words}\n"
    )


def test_a_glue_dump_that_says_that_it_is_complete_is_read(tmp_path):
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


def test_a_glue_dump_that_may_be_cut_off_is_read_and_its_last_line_is_shown(tmp_path, output):
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
