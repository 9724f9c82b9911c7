"""A ledger is damaged, or something else is in its place: the run goes on, reports it, and loses nothing."""

import os
import re
from pathlib import Path

import pytest

from disasters import Disaster
from ledger_files import NOW, ended_runs


def _bit(text, number):
    return text[:number] + bytes([text[number] ^ 0x10]) + text[number + 1 :]


DAMAGES = {
    "nothing in it": lambda text: b"",
    "no whole line": lambda text: text[:20],
    "only zeros": lambda text: bytes(len(text)),
    "zeros at its end": lambda text: text + bytes(512),
    "noise": lambda text: os.urandom(4096),
    "noise in its middle": lambda text: text[:200] + b"\x00\xff\xfe{{{\n" + text[200:],
    "its first line is gone": lambda text: text.split(b"\n", 1)[1],
    "a line of another program": lambda text: text + b"<html>\n",
    "a list of lists": lambda text: text + b"[" * 100000 + b"\n",
    "another event": lambda text: text + b'{"event": "rain", "kind": "server"}\n',
    "another kind": lambda text: text + b'{"event": "created", "kind": "zeppelin", "id": "1"}\n',
    "numbers where words stand": lambda text: text.replace(b'"created"', b"17"),
    "too large": lambda text: text + b" " * (5 * 2**20) + b"\n",
    "infinite times": lambda text: re.sub(rb'"at": [0-9.]+', b'"at": 1e999', text),
    "times of a thousand digits": lambda text: re.sub(
        rb'"at": [0-9.]+', b'"at": ' + b"9" * 1000, text
    ),
    "times that are words": lambda text: re.sub(rb'"at": [0-9.]+', b'"at": "noon"', text),
    "other ids": lambda text: text.replace(b'"ser-', b'"x-').replace(b'"vol-', b'"x-'),
    "ids that are lists": lambda text: re.sub(rb'"id": "[^"]*"', b'"id": [[]]', text),
    "without its last byte": lambda text: text[:-1],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_is_settled_all_the_same_and_nothing_else_is_touched(killed, file, damage):
    file.write_bytes(DAMAGES[damage](file.read_bytes()))

    code, output = killed.run()

    assert (code, killed.ours()) == (0, [])
    killed.check_strangers()
    assert [name for name in killed.ledgers() if name.endswith((".ledger", ".new"))] == []
    aside = [name for name in killed.ledgers() if name.endswith(".damaged")]
    assert len(aside) == output.text.count("a damaged ledger is set aside: ") <= 1
    assert killed.run()[1].text.count("damaged") == 0


def test_each_flipped_bit_of_a_ledger_is_survived(killed, file):
    restore, text = killed.fork(), file.read_bytes()
    for number in range(0, len(text), 7):
        restore()
        for path in killed.state.rglob("*.*"):
            path.unlink()
        file.write_bytes(_bit(text, number))

        assert killed.run()[0] == 0
        if number < text.index(b'"event"'):  # its endpoint: the debt may now seem to be elsewhere
            killed.outlast_the_lease()
            assert killed.leftovers("--remove")[0] == 0
        assert killed.ours() == [], f"byte {number} of {text!r}"
        killed.check_strangers()


def test_a_damaged_ledger_is_reported_on_line_1(killed, file):
    file.write_bytes(b"noise\n")

    text = killed.run()[1].text

    assert re.sub(r"/\S+/", "", text).startswith("site: test VM ran and is gone in ")
    assert "; a damaged ledger is set aside: /" in text


def test_a_ledger_of_another_endpoint_stays(killed, file):
    file.write_bytes(file.read_bytes().replace(b"memory://", b"memory://elsewhere-"))

    assert killed.run()[0] == 0
    assert len(killed.ours()) == 2
    assert killed.ledgers() == [file.name]


def plant_link(file):
    target = file.parent.parent.parent / "precious"
    target.write_text("precious")
    file.unlink()
    file.symlink_to(target)


def plant_directory(file):
    file.unlink()
    file.mkdir()


def plant_pipe(file):
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "plant, trouble",
    [
        (plant_link, "is a symbolic link"),
        (plant_directory, "Is a directory"),
        (plant_pipe, "is not a regular file"),
    ],
)
def test_what_is_in_the_place_of_a_ledger_is_reported_and_not_followed(
    killed, file, plant, trouble
):
    plant(file)

    code, output = killed.run()

    assert code == 0
    assert f"; a ledger cannot be read: {trouble}: /" in output.text
    (ledger,) = ended_runs(str(file.parent), NOW)
    assert ledger.warning == f"a ledger cannot be read: {trouble}: {file}"
    assert [path.read_text() for path in killed.directory.rglob("precious")] in ([], ["precious"])
    killed.clock.sleep(3600)
    assert killed.leftovers("--remove")[0] == 0
    assert killed.ours() == []


def test_one_ledger_that_cannot_be_read_does_not_hide_the_others(killed, file):
    (file.parent / "vmprobe-mon-20200101t000000z-6-aaaaaaaa.ledger").symlink_to("/dev/null")

    assert killed.run()[0] == 0
    assert killed.ours() == []


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("/tmp"),
        lambda path: path.write_text(""),
        lambda path: (path.mkdir(), path.chmod(0o777)),
    ],
    ids=["a link", "a file", "a directory where everybody writes"],
)
def test_a_directory_that_is_not_ours_alone_is_reported_and_not_used(tmp_path, make):
    world = Disaster(tmp_path / "world")
    (world.state / "ledger").mkdir(parents=True)
    make(world.state / "ledger" / "site")

    code, output = world.run()

    assert (code, world.ours()) == (0, [])
    assert "; the ledger cannot be written: " in output.text
    assert not list(Path("/tmp").glob("vmprobe-mon-*.ledger*"))
