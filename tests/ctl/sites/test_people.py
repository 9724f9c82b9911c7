"""vmprobectl sites import: files that people, their editors or another run have touched."""

import errno
import os

import pytest

from importing import CSV, sites_import
from vmprobe.ctl.config import output as tree
from vmprobe.ctl.sites import catalogue, sync
from vmprobe.host import files
from vmprobe.site import site


@pytest.mark.parametrize("form", ["crlf", "bom", "both"])
def test_a_site_file_keeps_its_line_ends_and_byte_order_mark(table, output, form):
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


def test_a_value_that_a_person_continued_on_the_next_line_stays(table, output):
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


def test_a_missing_section_is_added_for_a_new_value(table, output):
    table.write_text("name,manager,url\none,memory,memory://one\n")
    sites_import("csv", table, output)
    table.write_text("name,manager,url,vo\none,memory,memory://one,ops\n")

    assert sites_import("csv", table, output)[1].splitlines()[0] == "one: [labels] vo is now ops"
    assert site.load(str(output / "one.ini")).labels == {"vo": "ops"}


def test_a_file_that_is_not_utf8_is_named_and_left_alone(table, output, tmp_path):
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


def test_defaults_may_begin_with_a_byte_order_mark(table, output, tmp_path):
    (tmp_path / "defaults.ini").write_bytes("\ufeff[site]\r\ncontact = Zo\u00eb\r\n".encode())

    assert sites_import("csv", table, output, "--defaults", str(tmp_path / "defaults.ini"))[0] == 0
    assert site.load(str(output / "one.ini")).about == {"contact": "Zo\u00eb"}


def test_a_linked_site_file_stays_a_link_and_a_pipe_does_not_block(table, output, tmp_path):
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


def test_after_a_full_disk_the_next_import_continues(table, output, monkeypatch):
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
