"""What all catalogues have in common."""

import pytest

from importing import GOCDB, NAME, sites_import


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
def test_a_file_that_is_not_a_catalogue_is_refused_with_the_reason(
    tmp_path, output, form, text, words
):
    (tmp_path / "it").write_text(text)

    code, said, errors = sites_import(form, tmp_path / "it", output)

    assert (code, said, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"vmprobectl: {tmp_path}/it") and words in errors


def test_upper_case_in_hosts_and_types_makes_no_difference(tmp_path, output):
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
