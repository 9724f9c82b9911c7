"""INI text: what is literal, what is a comment, and which mistakes are named."""

import pytest

from vmprobe.core import ini


def test_keys_and_values_are_taken_literally():
    assert ini.parse(b"[DEFAULT]\nKey = %(x)s\n[a]\nkey = 1\n") == {
        "DEFAULT": {"Key": "%(x)s"},
        "a": {"key": "1"},
    }


def test_a_semicolon_after_a_value_begins_a_comment_only_if_that_is_wanted():
    text = b"[a]\nkey = b ; c\n"

    assert ini.parse(text) == {"a": {"key": "b"}}
    assert ini.parse(text, inline_comments=False) == {"a": {"key": "b ; c"}}


def test_a_duplicate_key_is_an_error_or_the_last_one_counts():
    text = b"[a]\nkey = 1\nkey = 2\n[a]\nother = 3\n"

    assert ini.parse(text, strict=False) == {"a": {"key": "2", "other": "3"}}
    with pytest.raises(ini.Malformed, match=r"^\[a\] key: this key appears twice \(line 3\)$"):
        ini.parse(text)


@pytest.mark.parametrize(
    "text, message",
    [
        (b"[a]\n[b]\n[a]\n", "[a]: this section appears twice (line 3)"),
        (b"key = 1\n", "line 1: a key before the first [section]"),
        (b"[a]\nkey\n", "line 2: neither 'key = value' nor '[section]'"),
    ],
)
def test_a_mistake_is_named_with_its_line(text, message):
    with pytest.raises(ini.Malformed) as error:
        ini.parse(text)

    assert str(error.value) == message


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "mac"])
def test_any_line_end_and_a_byte_order_mark_are_accepted(line_end):
    text = "\ufeff" + line_end.join(("[a]", "key = \u00fc", ""))

    assert ini.parse(text.encode()) == {"a": {"key": "\u00fc"}}
