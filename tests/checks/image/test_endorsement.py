"""Lists of endorsed images, signed by S/MIME: which signers count, and what the lists say."""

import shutil
import subprocess

import pytest

from image_lists import OTHER, SUM, counts, first, hepix, marketplace


def test_ok_when_the_image_is_endorsed_by_a_signed_list(site, clock, jane, listed):
    state, output = site.probe("image", "-v", *listed(jane.smime(hepix(clock))))

    assert (state, first(output)) == (
        0,
        ("VM_IMAGE OK - site: image vmprobe-test is there and unchanged, endorsed for 30.5 d"),
    )
    assert "list_expires=2635200s;604800:;;0" in output
    assert ": HEPiX image list tests, 1 image, signed by /C=XX/O=Tests/CN=Jane" in output


@pytest.mark.parametrize(
    "days, images, state, line, wrong",
    [
        (
            3.5,
            {},
            1,
            "WARNING - site: list_expires 302400 s is outside 604800: (warning); image vmprobe-test is there and unchanged, "
            "endorsed for 3.5 d",
            {},
        ),
        (
            -2.5,
            {},
            2,
            "CRITICAL - site: expired 1 is outside 0 (critical); list_expires 0 s is outside 604800: (warning); image "
            "vmprobe-test: its endorsement ended 2.5 d ago",
            {"expired": 1},
        ),
        (
            30.5,
            {"vmprobe-test": OTHER},
            2,
            "CRITICAL - site: mismatched 1 is outside 0 (critical); image vmprobe-test: its sha512 "
            "begins with abababababab, not cdcdcdcdcdcd",
            {"mismatched": 1},
        ),
        (
            30.5,
            {"another": "ef" * 64},
            2,
            "CRITICAL - site: unendorsed 1 is outside 0 (critical); image vmprobe-test is on no list",
            {"unendorsed": 1},
        ),
    ],
)
def test_what_a_list_says_of_the_test_image(
    site, clock, jane, listed, days, images, state, line, wrong
):
    code, output = site.probe("image", *listed(jane.smime(hepix(clock, days, **images))))

    assert (code, first(output)) == (state, f"VM_IMAGE {line}")
    assert counts(output) == {"images": 1, **wrong}


def test_critical_when_the_list_was_changed_after_it_was_signed(site, clock, jane, listed):
    signed = jane.smime(hepix(clock)).replace(SUM.encode(), OTHER.encode())

    assert first(site.probe("image", *listed(signed))[1]) == (
        "VM_IMAGE CRITICAL - site: lists: images.list: the signature is not good: verification failure (cause=image)"
    )


def test_critical_when_no_authority_that_counts_vouches_for_the_signer(
    site, clock, mallory, listed
):
    state, output = site.probe("image", *listed(mallory.smime(hepix(clock))))

    assert (state, first(output)) == (
        2,
        (
            "VM_IMAGE CRITICAL - site: lists: images.list: the signature is not good: unable to get local issuer certificate "
            "(cause=image)"
        ),
    )


def test_critical_when_it_is_signed_by_somebody_else_than_it_should_be(
    site, clock, authority, listed
):
    john = authority.person("John")

    assert first(
        site.probe(
            "image",
            *listed(john.smime(hepix(clock, endorser="/C=XX/O=Tests/CN=John"))),
            "--endorser",
            "/C=XX/O=Tests/CN=Jane",
        )[1]
    ) == (
        "VM_IMAGE CRITICAL - site: lists: images.list: it is signed by /C=XX/O=Tests/CN=John, who is not an accepted "
        "endorser (cause=image)"
    )
    assert first(site.probe("image", *listed(john.smime(hepix(clock))))[1]) == (
        "VM_IMAGE CRITICAL - site: lists: images.list: it names /C=XX/O=Tests/CN=Jane as its endorser, but is signed by "
        "/C=XX/O=Tests/CN=John (cause=image)"
    )


def test_the_endorser_may_be_written_either_way(site, clock, jane, listed):
    assert (
        site.probe(
            "image", *listed(jane.smime(hepix(clock))), "--endorser", "CN=Jane,O=Tests,C=XX"
        )[0]
        == 0
    )


def test_critical_when_the_signers_certificate_has_ended(site, clock, jane, listed):
    document = jane.smime(hepix(clock, days=300))
    clock.sleep(25 * 86400)

    assert first(site.probe("image", *listed(document))[1]) == (
        "VM_IMAGE CRITICAL - site: lists: images.list: the signature is not good: certificate has expired (cause=image)"
    )


def test_a_directory_of_authorities_is_trusted_and_nothing_else(
    site, clock, jane, mallory, authority, listed, tmp_path
):
    directory = tmp_path / "certificates"
    directory.mkdir()
    shutil.copy(authority.ca, directory / "ca.pem")
    subprocess.run(["openssl", "rehash", str(directory)], check=True, capture_output=True)

    assert (
        site.probe("image", *listed(jane.smime(hepix(clock)))[:2], "--ca", str(directory))[0] == 0
    )
    assert (
        site.probe("image", *listed(mallory.smime(hepix(clock)))[:2], "--ca", str(directory))[0]
        == 2
    )


@pytest.mark.parametrize(
    "content, message",
    [
        ("{}", "it cannot be understood: the answer has no hv:imagelist"),
        (
            '{"hv:imagelist": {"hv:images": [{}]}}',
            "it cannot be understood: the answer has no hv:image",
        ),
        (
            '{"hv:imagelist": {"hv:images": 7}}',
            "it cannot be understood: hv:images in the answer is a whole number, not a list",
        ),
        ("{" * 9, "it cannot be understood: it is not JSON"),
        (
            '{"hv:imagelist": {"dc:date:expires": "soon", "hv:images": []}}',
            "it cannot be understood: 'soon' is not a date",
        ),
        ("md5:x 1 2", "it cannot be understood: line 1 is not 'sha512:HEX EXPIRY NAME'"),
        ("sha512:abcd - name", "it cannot be understood: 'abcd' is not a sha512 checksum"),
    ],
)
def test_a_signed_list_that_cannot_be_understood_is_one_clear_line(
    site, jane, listed, content, message
):
    state, output = site.probe("image", *listed(jane.smime(content)))

    assert (state, first(output)) == (
        2,
        f"VM_IMAGE CRITICAL - site: lists: images.list: {message} (cause=image)",
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"not a list", b"\0\xff" * 100, b"MIME-Version: 1.0\nContent-Type: text/plain\n\n{}"],
)
def test_what_is_not_signed_is_never_accepted(site, listed, content):
    state, output = site.probe("image", *listed(content))

    assert state == 2
    assert first(output).startswith(
        "VM_IMAGE CRITICAL - site: lists: images.list: the signature is not good: "
    )


# --- lists that cannot be understood ---------------------------------------------------------------


@pytest.mark.parametrize(
    "more, message",
    [
        ("<dcterms:identifier>other</dcterms:identifier>", "it has identifier 2 times"),
        ("<dcterms:valid>2099-01-01</dcterms:valid>", "it has valid 2 times"),
        (
            f"<slreq:checksum><slreq:algorithm>SHA512</slreq:algorithm><slreq:value>{OTHER}</slreq:value></slreq:checksum>",
            "it has two sha512 checksums of one image",
        ),
        ("</rdf:Description><rdf:Description>", "it has 2 descriptions instead of one"),
    ],
)
def test_metadata_that_contradicts_itself_is_refused(site, clock, jane, listed, more, message):
    assert first(site.probe("image", *listed(jane.xml(marketplace(clock, more=more))))[1]) == (
        f"VM_IMAGE CRITICAL - site: lists: images.list: it cannot be understood: {message} (cause=image)"
    )


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"hv:imagelist": {"hv:images": []}, "hv:imagelist": {}}', "it has the same key twice"),
        (
            '{"hv:imagelist": {"hv:images": [{"hv:image": {"dc:identifier": " ", "dc:title": "x"}}]}}',
            "it has an image without an identifier",
        ),
        (b"sha512:" + SUM.encode() + b" - \xff\n", "it is not in UTF-8"),
        (
            "Content-Type: text/html\nContent-Transfer-Encoding: base64\n\nIyBub3RoaW5n\n",
            "the signed content is text/html, base64, not plain text",
        ),
        (
            "Content-Type: multipart/mixed;\n boundary=x\n\n# x\n",
            "the signed content is multipart/mixed;, 7bit, not plain text",
        ),
    ],
)
def test_a_signed_text_that_two_readers_would_take_differently_is_not_understood(
    site, jane, listed, content, message
):
    assert first(site.probe("image", *listed(jane.smime(content, "-binary", "-nodetach")))[1]) == (
        f"VM_IMAGE CRITICAL - site: lists: images.list: it cannot be understood: {message} (cause=image)"
    )


def test_a_list_with_the_headers_of_a_message_is_read(site, clock, jane, listed):
    state, output = site.probe(
        "image", *listed(jane.smime(f"sha512:{SUM} - vmprobe-test\n", "-text"))
    )

    assert (state, first(output)) == (
        0,
        "VM_IMAGE OK - site: image vmprobe-test is there and unchanged, endorsed",
    )


def test_warning_when_an_endorsement_has_no_checksum_to_compare(site, jane, listed):
    text = '{"hv:imagelist": {"hv:images": [{"hv:image": {"dc:identifier": "img-1", "sl:checksum:whirlpool": "ab"}}]}}'

    state, output = site.probe("image", *listed(jane.smime(text)))

    assert (state, first(output)) == (
        1,
        (
            "VM_IMAGE WARNING - site: unverified 1 is outside 0 (warning); image vmprobe-test: its endorsement has no checksum "
            "that can be compared"
        ),
    )
