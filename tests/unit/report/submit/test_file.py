"""Check results in a file of JSON lines."""

import json
import os

from submitting import RESULT, deliver, lines


def test_a_partly_written_line_is_removed_again_and_the_result_spooled(tmp_path, room):
    path, word = tmp_path / "file", f"file:{tmp_path}/file"
    path.write_text(json.dumps({"before": "x" * 5000}) + "\n")
    before = path.read_text()
    room(len(before) + 100)

    said = deliver(word, RESULT._replace(state=1, ended=1005.0))
    assert said == [f"not submitted to {word}: {path}: only part of the line was written; spooled"]
    assert path.read_text() == before
    room(-1)

    assert deliver(word) == []
    assert [each.get("state") for each in lines(path)] == [None, 1, 2]


def test_an_incomplete_line_in_the_file_does_not_spoil_the_next_one(tmp_path):
    (tmp_path / "file").write_text('{"host": "torn')

    assert deliver(f"file:{tmp_path}/file") == []
    assert (tmp_path / "file").read_text().splitlines()[0] == '{"host": "torn'
    assert json.loads((tmp_path / "file").read_text().splitlines()[1])["state"] == 2


def test_a_pipe_without_a_reader_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    assert deliver(f"file:{tmp_path}/pipe") == [
        f"not submitted to file:{tmp_path}/pipe: {tmp_path}/pipe: No such device or address; spooled"
    ]


def test_a_full_device_is_reported():
    assert deliver("file:/dev/full") == [
        "not submitted to file:/dev/full: /dev/full: No space left on device; spooled"
    ]
