"""vmprobectl and letters: in outputs, names, templates and site files."""

import os
import shutil
import subprocess
import sys

import pytest

from controlling import SITE, TABLE, ctl
from running import PROBES


@pytest.mark.parametrize(
    "encoding, shown",
    [
        ("ascii", b"\\u0141\\xf3d\\u017a"),
        ("iso8859-1", b"\\u0141\xf3d\\u017a"),
        ("iso8859-2", b"\xa3\xf3d\xbc"),
        ("utf-8", "Łódź".encode()),
    ],
)
def test_letters_that_an_encoding_lacks_are_escaped(sites, table, tmp_path, encoding, shown):
    words = [
        sys.executable,
        PROBES / "vmprobectl",
        "sites",
        "import",
        "--from",
        "csv",
        table,
        "--output",
        tmp_path / "imported",
    ]
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    table.write_text(TABLE.replace("Kraków ", ""), "utf-8")

    done = subprocess.run(
        words, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        b"one: [site] notes is now " + shown + b"\n1 site found, 0 services skipped\n",
        b"",
    )
    assert ctl(
        "config",
        "--target",
        "icinga2",
        "--sites",
        sites,
        "--output",
        tmp_path / "none",
        "--check",
        env={"PYTHONIOENCODING": encoding},
    )[::2] == (1, "")


@pytest.mark.parametrize("encoding", ["utf-16", "idna", "punycode", "cp037", "utf-7"])
def test_an_encoding_that_does_not_contain_ascii_is_not_used(sites, table, tmp_path, encoding):
    done = ctl(
        "sites",
        "import",
        "--from",
        "csv",
        table,
        "--output",
        tmp_path / "Łódź",
        env={"PYTHONIOENCODING": encoding},
    )

    assert done == (1, "", f"vmprobectl: {tmp_path}/\\u0141\\xf3d\\u017a: No such directory\n")


def test_file_names_that_are_not_utf8_give_one_line(sites, tmp_path):
    name = os.fsdecode(b"J\xfcrgen")
    (tmp_path / name).mkdir()
    shutil.copy(sites / "one.ini", tmp_path / name / "one.ini")

    code, said, errors = ctl(
        "config", "--target", "nagios", "--sites", tmp_path / name, "--output", tmp_path / "out"
    )
    assert (code, said, errors.count("\n")) == (1, "", 1)
    assert "J\\udcfcrgen/one.ini: some schedulers cannot run a command with this path" in errors
    assert ctl(
        "config", "--target", "nagios", "--sites", sites, "--output", tmp_path / name / "out"
    )[::2] == (0, "")


def test_a_template_that_is_not_utf8_is_named(sites, tmp_path):
    own = tmp_path / "own" / "nagios"
    own.mkdir(parents=True)
    (own / "templates.cfg").write_bytes("# \u00dcber uns\n".encode("latin-1"))

    assert ctl(
        "config",
        "--target",
        "nagios",
        "--sites",
        sites,
        "--output",
        tmp_path / "out",
        "--templates",
        own.parent,
    ) == (1, "", "vmprobectl: template templates.cfg: is not UTF-8 text\n")


def test_a_template_may_begin_with_a_byte_order_mark(sites, tmp_path):
    own = tmp_path / "own" / "nagios"
    own.mkdir(parents=True)
    (own / "templates.cfg").write_bytes(b"\xef\xbb\xbf# ours\r\n")

    assert ctl(
        "config",
        "--target",
        "nagios",
        "--sites",
        sites,
        "--output",
        tmp_path / "out",
        "--templates",
        own.parent,
    )[::2] == (0, "")
    assert (tmp_path / "out" / "templates.cfg").read_bytes() == b"# ours\n"


@pytest.mark.parametrize(
    "text, words",
    [
        (SITE.format(name="one", notes="J\u00fcrgen").encode("latin-1"), "is not UTF-8 text"),
        (SITE.format(name="one", notes="a").encode("utf-16"), "is not UTF-8 text"),
    ],
    ids=["latin-1", "utf-16"],
)
def test_a_site_file_that_is_not_utf8_is_named(sites, tmp_path, text, words):
    (sites / "one.ini").write_bytes(text)

    assert ctl("config", "--target", "nagios", "--sites", sites, "--output", tmp_path / "out") == (
        1,
        "",
        f"vmprobectl: {sites}/one.ini: {words}\n",
    )


@pytest.mark.parametrize(
    "change",
    [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")],
    ids=["mark", "crlf"],
)
def test_line_ends_of_a_site_file_do_not_change_the_configuration(sites, tmp_path, change):
    words = ("config", "--target", "icinga2", "--sites", sites, "--output", tmp_path / "out")
    ctl(*words)
    (sites / "one.ini").write_bytes(change((sites / "one.ini").read_bytes()))

    assert ctl(*words) == (0, "1 site, 2 files: 0 new, 0 changed, 0 removed\n", "")
