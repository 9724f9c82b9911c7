"""Digits of foreign texts: what a guest, a manager or a file writes is a number in plain digits, or none; never an exception."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from running import PROBES
from vmprobe.core.model import Kind, Ref
from vmprobe.core.text import decimal_number, whole_number
from vmprobe.drivers.opennebula import readings
from vmprobe.guest import console

SERVER = Ref(Kind.SERVER, "srv-1", "vmprobe-x")
NO_DISK = "server srv-1: its console says no disk yet"
ODD = [
    "\u00b2",
    "\u2460",
    "\u0664\u0662",
    "\uff11",
    "9" * 5000,
    "-1",
    "+1",
    "1_0",
    "0x1",
    "1e3",
    "",
    " 1",
    "1\n",
    "x",
    "nan",
    "1.0",
    "0",
]


def said(verified):
    return console.facts(f"vmprobe n-1 2.0 disk device=vdb verified={verified}\r\n", "n-1")


@pytest.mark.parametrize("verified", [text for text in ODD if text == text.strip()])
def test_a_disk_that_a_console_proves_by_no_number_is_not_proved(verified):
    assert (
        console.missing([*said(verified), console.Fact("boot", "", 1.0, {})], "disk", SERVER)
        == NO_DISK
    )


def test_a_disk_is_proved_by_one_block_that_was_verified():
    assert console.missing(said("1"), "disk", SERVER) == ""


@pytest.mark.parametrize(
    "uptime", ["\u0664.0", "\u00b2", "9" * 5000, "1." + "9" * 5000, "-1", "nan"]
)
def test_a_line_whose_time_is_no_number_is_no_fact(uptime):
    assert console.facts(f"vmprobe n-1 {uptime} boot cpus=1\n", "n-1") == []


@pytest.mark.parametrize("user", [text for text in ODD if text != "0"])
def test_an_image_in_opennebula_is_used_by_vms_with_a_number_only(user):
    image = ElementTree.Element("IMAGE")
    for text in (user, "17"):
        ElementTree.SubElement(ElementTree.SubElement(image, "VMS"), "ID").text = text

    assert readings.image_users(image) == (["1", "17"] if user.strip() == "1" else ["17"])


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(
    text=st.text(
        st.characters(whitelist_categories=["Nd", "No", "Nl"]) | st.sampled_from("0123456789.-+_e ")
    )
    | st.sampled_from(ODD)
)
def test_any_text_is_a_number_in_plain_digits_or_none(text):
    plain = re.fullmatch("[0-9]{1,18}", text)
    fraction = len(text) <= 20 and re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)

    assert whole_number(text) == (int(text) if plain else None)
    assert decimal_number(text) == (float(text) if fraction else None)


@pytest.mark.parametrize(
    "path", sorted(PROBES.glob("vmprobe/**/*.py")), ids=lambda path: str(path.relative_to(PROBES))
)
def test_no_module_asks_python_what_a_digit_is(path):
    """``isdigit`` takes superscripts, which ``int`` refuses; ``text.whole_number`` and ``text.decimal_number`` are the ways to read a number."""
    assert re.findall(r"\.is(?:digit|decimal|numeric)\(", path.read_text(encoding="utf-8")) == []
