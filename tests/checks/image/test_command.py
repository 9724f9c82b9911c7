"""check_vm_image: each verdict as the whole line."""

import os
import re

import pytest

from gateways.server import serving
from image_lists import OTHER, SUM, counts, day, first, hepix
from vmprobe.core.model import Image, Kind, State


def test_ok_when_the_test_image_is_there(site):
    assert site.probe("image") == (
        0,
        (
            "VM_IMAGE OK - site: image vmprobe-test is there | auth=0s;;;0 expired=0;;0;0 image=0s;;;0 images=1;;;0 "
            "inactive=0;;0;0 lists=0s;;;0 mismatched=0;;0;0 missing=0;;0;0 revoked=0;;0;0 total=0s;;;0 unendorsed=0;;0;0 "
            "unverified=0;0;;0"
        ),
    )


def test_critical_when_it_is_missing(site):
    assert site.probe("image", "--image", "sl7") == (
        2,
        (
            "VM_IMAGE CRITICAL - site: image: no image named 'sl7' (cause=image) | auth=0s;;;0 images=0;;;0 lists=0s;;;0 "
            "missing=1;;0;0 total=0s;;;0"
        ),
    )


@pytest.mark.parametrize(
    "image, options, state, line, wrong",
    [
        (
            Image("1", "vmprobe-test", State.FAILED, "deactivated"),
            [],
            2,
            "inactive 1 is outside 0 (critical); image vmprobe-test is deactivated",
            {"inactive": 1},
        ),
        (
            Image("1", "vmprobe-test", State.READY, "active", {"sha512": SUM}),
            [f"--checksum=sha512:{OTHER}"],
            2,
            "mismatched 1 is outside 0 (critical); image vmprobe-test: its sha512 begins with abababababab, not cdcdcdcdcdcd",
            {"mismatched": 1},
        ),
        (
            Image("1", "vmprobe-test", State.READY, "active", {"md5": "ab" * 16}),
            [f"--checksum=sha512:{SUM}"],
            1,
            "unverified 1 is outside 0 (warning); image vmprobe-test: the manager has no sha512 checksum",
            {"unverified": 1},
        ),
        (
            Image("1", "vmprobe-test", State.READY, "active", {"sha512": SUM}),
            [f"--checksum=sha512:{SUM.upper()}"],
            0,
            "image vmprobe-test is there and unchanged",
            {},
        ),
    ],
)
def test_state_and_checksum_of_the_test_image(site, image, options, state, line, wrong):
    site.cloud.described = [image]

    code, output = site.probe("image", *options)

    assert (code, first(output)) == (
        state,
        f"VM_IMAGE {('OK', 'WARNING', 'CRITICAL')[state]} - site: {line}",
    )
    assert counts(output) == {"images": 1, **wrong}


def test_usage_errors_are_sentences(site):
    assert site.probe("image", "--running") == (
        3,
        "VM_IMAGE UNKNOWN - --running needs a --list",
    )
    for url in ("http:///list", "ftp://images.example.org/list"):
        with pytest.raises(
            Exception, match=f"argument --list: '{url}' is not a URL like 'https://host:5000/v3'"
        ):
            site.probe("image", "--list", url)


def test_a_list_in_a_pipe_is_not_waited_for(site, tmp_path):
    os.mkfifo(tmp_path / "list")

    state, output = site.probe("image", "--list", str(tmp_path / "list"))

    assert (state, output.split(" | ")[0]) == (
        3,
        "VM_IMAGE UNKNOWN - site: lists: list: is not a regular file (cause=client)",
    )


# --- every image, and what runs on them ------------------------------------------------------------


def test_every_image_of_a_list_has_to_be_there_and_none_that_is_not_endorsed_any_more(
    site, clock, jane, listed
):
    plain = (
        f"# the images of our VO\nsha512:{SUM} {day(clock, 30.5)} vmprobe-test\nsha512:{OTHER} revoked sl6\n"
        f"sha512:{'ef' * 64} {day(clock, 60)} sl7\nsha512:{'12' * 64} revoked sl5\n"
    )
    state, output = site.probe("image", "-v", "--every", *listed(jane.smime(plain)))

    assert (state, output.splitlines()[0].split(" | ")[0], counts(output.splitlines()[0])) == (
        2,
        (
            "VM_IMAGE CRITICAL - site: missing 1 is outside 0 (critical); revoked 1 is outside 0 (critical); image sl7 is "
            "endorsed but missing; image sl6 is revoked: revoked"
        ),
        {"images": 2, "missing": 1, "revoked": 1},
    )


def test_ok_when_every_image_of_a_list_is_there(site, clock, jane, listed):
    state, output = site.probe(
        "image",
        "--every",
        *listed(jane.smime(hepix(clock, **{"vmprobe-test": SUM, "other": OTHER}))),
    )

    assert (state, first(output)) == (
        0,
        (
            "VM_IMAGE OK - site: 2 endorsed images of 1 list are there and unchanged, endorsed for 30.5 d"
        ),
    )


def test_warning_when_servers_run_on_an_image_that_is_revoked_even_if_the_image_is_gone(
    site, clock, jane, listed
):
    plain = f"sha512:{SUM} {day(clock, 30.5)} vmprobe-test\nsha512:{'12' * 64} revoked sl5\nsha512:{OTHER} {day(clock, -1)} sl6\n"
    for name, image in (
        ("web1", "vmprobe-test"),
        ("web2", "sl5"),
        ("web3", "img-2"),
        ("web4", "own"),
    ):
        site.cloud.things[site.cloud.make(Kind.SERVER, name, image=image).id].owner = "alice"

    state, output = site.probe("image", "--running", *listed(jane.smime(plain)))

    assert (state, first(output)) == (
        1,
        (
            "VM_IMAGE WARNING - site: running_bad 2 is outside 0 (warning); server ser-2 (web2) of alice: image sl5 is revoked: "
            "revoked; server ser-3 (web3) of alice: image sl6: its endorsement ended 24 h ago"
        ),
    )


def test_a_list_is_fetched_from_its_url(site, clock, jane, listed, authority):
    listed(b"")
    with serving(body=jane.smime(hepix(clock))) as url:
        state, output = site.probe(
            "image", "--list", f"{url}/images.list", "--ca", str(authority.ca)
        )

    assert (state, first(output)) == (
        0,
        "VM_IMAGE OK - site: image vmprobe-test is there and unchanged, endorsed for 30.5 d",
    )


def test_critical_when_a_list_is_not_at_its_url(site, authority):
    with serving(front=404) as url:
        state, output = site.probe(
            "image", "--list", f"{url}/images.list", "--ca", str(authority.ca)
        )

    assert (state, first(output)) == (
        2,
        (
            "VM_IMAGE CRITICAL - site: lists: images.list: GET /images.list: 404 who are you? (cause=gateway)"
        ),
    )


# --- what cannot be run ----------------------------------------------------------------------------


def test_unknown_when_the_tool_is_not_there_because_that_is_ours(
    site, clock, jane, listed, monkeypatch
):
    document = jane.smime(hepix(clock))
    monkeypatch.setenv("PATH", "/nowhere")

    assert first(site.probe("image", *listed(document))[1]) == (
        "VM_IMAGE UNKNOWN - site: lists: images.list: signatures of this form are verified by openssl, which is not installed "
        "(cause=client)"
    )


@pytest.mark.parametrize("endorser", ["Jane", "/", "", "CN=Jane,", "/C=DE/town=Bonn", "CN=Jane\\"])
def test_who_is_no_name_is_a_usage_error(site, endorser):
    with pytest.raises(
        Exception,
        match=re.escape(
            f"argument --endorser: '{endorser}' is not a name like '/C=DE/O=Grid/CN=Jane'"
        ),
    ):
        site.probe("image", "--list", "x", "--endorser", endorser)


def test_a_password_in_the_url_of_a_list_is_refused_and_not_shown(site):
    with pytest.raises(
        Exception,
        match="argument --list: 'https://\\*\\*\\*@images.example.org/list' contains a user or password",
    ):
        site.probe("image", "--list", "https://jane:s3cr3t@images.example.org/list")
