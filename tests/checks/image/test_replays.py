"""A list that is older than the one that was seen at the same place before is refused."""

import json
import re
import time

import pytest

from image_lists import SUM, day, first, hepix, marketplace


def _hepix_of(clock, jane, days):
    return jane.smime(hepix(clock).replace(day(clock, -1), day(clock, days)))


def _marketplace_of(clock, jane, days):
    return jane.xml(
        marketplace(clock).replace(
            f"<dcterms:created>{day(clock, -1)}", f"<dcterms:created>{day(clock, days)}"
        )
    )


@pytest.mark.parametrize("made", [_hepix_of, _marketplace_of], ids=["hepix", "marketplace"])
def test_critical_when_a_list_is_older_than_the_one_that_was_there_before(
    site, clock, jane, listed, made, state_directory
):
    older, newer = made(clock, jane, -9), made(clock, jane, -2)

    assert [site.probe("image", *listed(document))[0] for document in (older, newer, newer)] == [
        0,
        0,
        0,
    ]
    state, output = site.probe("image", *listed(older))
    (kept,) = (state_directory / "lists").iterdir()
    dates = [
        time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(clock.utc() + 86400 * days))
        for days in (-9, -2)
    ]
    assert (state, first(output)) == (
        2,
        (
            f"VM_IMAGE CRITICAL - site: lists: images.list: a replay: it is of {dates[0]}, and a list of {dates[1]} was here before "
            f"(lists/{kept.name}) (cause=image)"
        ),
    )

    kept.unlink()
    assert site.probe("image", *listed(older))[0] == 0


def test_critical_when_an_older_list_has_a_day_and_no_time(site, clock, jane, listed):
    older, newer = (
        jane.smime(hepix(clock).replace(day(clock, -1), day(clock, days)[:10])) for days in (-9, -2)
    )

    assert [site.probe("image", *listed(document))[0] for document in (older, newer, newer)] == [
        0,
        0,
        0,
    ]
    state, output = site.probe("image", *listed(older))
    assert state == 2
    assert (
        f"images.list: a replay: it is of {day(clock, -9)[:10]} 00:00:00 UTC, and a list of {day(clock, -2)[:10]} 00:00:00 UTC was here"
        in output
    )


def test_a_plain_list_is_as_old_as_its_signature(site, clock, jane, listed, state_directory):
    signed = jane.smime(f"sha512:{SUM} - vmprobe-test\n")
    site.probe("image", *listed(signed))
    (kept,) = (state_directory / "lists").iterdir()
    made = json.loads(kept.read_text())["made"]

    assert 0 <= clock.utc() - made < 600
    kept.write_text(json.dumps({"made": made + 1}))
    state, output = site.probe("image", *listed(signed))
    assert state == 2
    assert "images.list: a replay: it is of " in output


def test_a_list_that_does_not_say_when_it_was_made_is_noted(site, jane, listed, state_directory):
    state, output = site.probe(
        "image", "-v", *listed(jane.smime(f"sha512:{SUM} - vmprobe-test\n", "-noattr"))
    )

    assert state == 0
    assert "images.list: it has no date, so an older list would not be noticed" in output
    assert not list(state_directory.glob("lists/*"))


@pytest.mark.parametrize(
    "undated",
    [
        lambda clock, jane: jane.smime(f"sha512:{SUM} - vmprobe-test\n", "-noattr"),
        lambda clock, jane: jane.smime(
            hepix(clock).replace("dc:date:created", "dc:date:made"), "-noattr"
        ),
        lambda clock, jane: jane.xml(
            re.sub("<dcterms:created>.*</dcterms:created>", "", marketplace(clock))
        ),
    ],
    ids=["plain", "hepix", "marketplace"],
)
def test_critical_when_a_list_without_a_date_comes_after_one_that_had_one(
    site, clock, jane, listed, undated, state_directory
):
    assert site.probe("image", *listed(undated(clock, jane)))[0] == 0
    assert site.probe("image", *listed(_hepix_of(clock, jane, -2)))[0] == 0

    state, output = site.probe("image", *listed(undated(clock, jane)))

    (kept,) = (state_directory / "lists").iterdir()
    date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(clock.utc() - 2 * 86400))
    assert (state, output.split(" | ")[0].split("\n")[0]) == (
        2,
        (
            "VM_IMAGE CRITICAL - site: lists: images.list: it may be a replay: it has no date, "
            f"and a list of {date} was here before (lists/{kept.name}) (cause=image)"
        ),
    )


def test_critical_when_a_list_was_signed_before_another_one_of_the_same_date(
    site, clock, jane, listed, state_directory
):
    signed = jane.smime(hepix(clock))
    site.probe("image", *listed(signed))
    (kept,) = (state_directory / "lists").iterdir()
    remembered = json.loads(kept.read_text())

    assert site.probe("image", *listed(signed))[0] == 0
    kept.write_text(json.dumps({**remembered, "signed": remembered["signed"] + 1}))
    state, output = site.probe("image", *listed(signed))
    assert state == 2
    assert "images.list: a replay: it was signed on " in output
    assert site.probe("image", *listed(_hepix_of(clock, jane, 0)))[0] == 0


def test_a_list_of_the_future_does_not_shut_out_the_next_one(site, clock, jane, listed):
    assert site.probe("image", *listed(_hepix_of(clock, jane, 3000)))[0] == 0

    clock.sleep(60)
    assert site.probe("image", *listed(_hepix_of(clock, jane, 0)))[0] == 0


def test_a_list_that_is_refused_is_not_remembered(
    site, clock, jane, authority, listed, state_directory
):
    newest = _hepix_of(clock, authority.person("John"), 0)

    assert site.probe("image", *listed(newest), "--endorser", "/C=XX/O=Tests/CN=Jane")[0] == 2
    assert (
        site.probe(
            "image", *listed(_hepix_of(clock, jane, -9)), "--endorser", "/C=XX/O=Tests/CN=Jane"
        )[0]
        == 0
    )


@pytest.mark.parametrize("content", ["", "{}", '{"made": "now"}', '{"made": NaN}', "[1]"])
def test_a_damaged_memory_of_lists_is_set_aside_and_reported(
    site, clock, jane, listed, state_directory, content
):
    site.probe("image", *listed(jane.smime(hepix(clock))))
    (kept,) = (state_directory / "lists").iterdir()
    kept.write_text(content)

    state, output = site.probe("image", "-v", *listed(jane.smime(hepix(clock))))

    assert state == 0
    assert f"images.list: {kept} was damaged and is set aside" in output


def test_a_list_is_read_where_nothing_can_be_remembered(site, clock, jane, listed, monkeypatch):
    monkeypatch.setenv("VMPROBE_STATE", "/dev/null/state")

    state, output = site.probe("image", "-v", *listed(jane.smime(hepix(clock))))

    assert (state, first(output)) == (
        0,
        "VM_IMAGE OK - site: image vmprobe-test is there and unchanged, endorsed for 30.5 d",
    )
    assert "cannot be written, so an older list would not be noticed: " in output
