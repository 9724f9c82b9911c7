"""Sites from a table: columns, cells, and what is refused."""

import pytest

from importing import CSV, sites_import
from vmprobe.ctl.sites import catalogue
from vmprobe.site import site


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
def test_a_column_that_cannot_be_a_label_is_refused_by_its_name(table, output, column, shown):
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
def test_a_value_that_an_ini_file_cannot_hold_is_refused(table, output, value):
    table.write_bytes(f"name,manager,url,note\none,memory,memory://one,{value}\n".encode())

    code, said, errors = sites_import("csv", table, output)

    assert (code, errors, list(output.glob("*.ini"))) == (0, "", [])
    assert said.startswith("one: refused: [labels] note: ") and said.splitlines()[0].endswith(
        "cannot stand in a site file"
    )


def test_a_duplicate_column_is_refused(table, output):
    table.write_text("name,manager,url,Flavor,flavor\none,memory,memory://one,a,b\n")

    assert sites_import("csv", table, output)[::2] == (
        1,
        f"vmprobectl: {table}: column flavor appears twice\n",
    )


def test_columns_may_be_in_upper_case_and_empty_ones_are_skipped(table, output):
    table.write_text("Name,MANAGER,Url,Country,,\none,memory,memory://one,es,,\n,,,,,\n")

    assert sites_import("csv", table, output)[::2] == (0, "")
    assert site.load(str(output / "one.ini")).labels == {"country": "es"}

    table.write_text("name,manager,url,\none,memory,memory://one,what\n")
    assert (
        sites_import("csv", table, output)[2]
        == f"vmprobectl: {table} line 2: has a value in a column without a name\n"
    )


def test_upper_case_in_a_manager_makes_no_difference(table, output):
    sites_import("csv", table, output)
    table.write_text(CSV.replace("one,memory", "one,Memory").replace("two,memory", "two,MEMORY"))

    assert sites_import("csv", table, output) == (0, "2 sites found, 0 services skipped\n", "")
