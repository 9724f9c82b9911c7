"""Metadata of the Marketplace, signed by an XML signature."""

import base64
import re
import signal

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from endorsers import der
from image_lists import OTHER, SUM, first, marketplace
from running import run_probe


def test_ok_when_the_marketplaces_metadata_endorses_the_image(site, clock, jane, listed):
    state, output = site.probe("image", "-v", *listed(jane.xml(marketplace(clock))))

    assert (state, first(output)) == (
        0,
        ("VM_IMAGE OK - site: image vmprobe-test is there and unchanged, endorsed for 30.5 d"),
    )
    assert ": Marketplace metadata vmprobe-test, 1 image, signed by /C=XX/O=Tests/CN=Jane" in output


def test_a_signature_by_sha1_is_accepted_and_reported_as_weak(site, clock, jane, listed):
    state, output = site.probe(
        "image", "-v", *listed(jane.xml(marketplace(clock), "rsa-sha1", "sha1"))
    )

    assert state == 0
    assert "the Marketplace's signature uses SHA-1" in output


@pytest.mark.parametrize("caller", ["keeps the exit codes of its children", "ignores its children"])
def test_a_changed_document_is_refused_whatever_the_caller_has_done_with_its_signals(
    clock, jane, mallory, authority, tmp_path, caller
):
    site = tmp_path / "site.ini"
    site.write_text(
        "[site]\nname = site\n[endpoint]\nmanager = memory\n[test vm]\nimage = vmprobe-test\n"
    )
    ignored = (
        (lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        if caller == "ignores its children"
        else None
    )
    outputs = []

    for document in (_changed(jane.xml(marketplace(clock))), mallory.xml(marketplace(clock))):
        (tmp_path / "metadata.xml").write_bytes(
            document if isinstance(document, bytes) else document.encode()
        )
        options = ("--list", str(tmp_path / "metadata.xml"), "--ca", str(authority.ca))
        outputs.append(
            first(run_probe("check_vm_image", "--site", str(site), *options, preexec_fn=ignored)[1])
        )

    assert outputs == [
        "VM_IMAGE CRITICAL - site: lists: metadata.xml: the signature is not good: the document was changed (cause=image)",
        "VM_IMAGE CRITICAL - site: lists: metadata.xml: the signer's certificate is not accepted: unable to get local issuer certificate (cause=image)",
    ]


def test_critical_when_the_image_is_deprecated_or_not_valid_any_more(site, clock, jane, listed):
    revoked = jane.xml(
        marketplace(clock, more="<slterms:deprecated>CVE-2027-1</slterms:deprecated>")
    )
    ended = jane.xml(marketplace(clock, days=-3))

    assert first(site.probe("image", *listed(revoked))[1]) == (
        "VM_IMAGE CRITICAL - site: revoked 1 is outside 0 (critical); image vmprobe-test is revoked: CVE-2027-1"
    )
    assert first(site.probe("image", *listed(ended))[1]) == (
        "VM_IMAGE CRITICAL - site: expired 1 is outside 0 (critical); list_expires 0 s is outside 604800: (warning); image "
        "vmprobe-test: its endorsement ended 3 d ago"
    )


def _changed(document):
    return document.replace(SUM.encode(), OTHER.encode())


def _wrapped(document):
    """Put the signed document into another one, so that a reader meets the unsigned one first."""
    inner = document[document.index(b"<rdf:RDF") :]
    head = inner[: inner.index(b">") + 1]
    false = inner[inner.index(b"<rdf:Description") : inner.index(b"<Signature")].replace(
        SUM.encode(), OTHER.encode()
    )
    return head + false + inner + b"</rdf:RDF>"


def _twice(document):
    start, end = (
        document.index(b"<Signature"),
        document.index(b"</Signature>") + len(b"</Signature>"),
    )
    return document[:end] + document[start:end] + document[end:]


def _unsigned(document):
    start, end = (
        document.index(b"<Signature"),
        document.index(b"</Signature>") + len(b"</Signature>"),
    )
    return document[:start] + document[end:]


def _no_certificate(document):
    return re.sub(rb"<X509Data>.*</X509Data>", b"<X509Data/>", document, flags=re.S)


def _doctype(document):
    return document.replace(b"<rdf:RDF", b'<!DOCTYPE x [<!ENTITY y "z">]><rdf:RDF', 1)


def test_a_comment_is_not_signed_and_cuts_no_value_short(site, clock, jane, listed):
    signed = jane.xml(marketplace(clock)).replace(
        SUM.encode(), SUM[:64].encode() + b"<!-- x -->" + SUM[64:].encode()
    )

    assert site.probe("image", *listed(signed))[0] == 0


@pytest.mark.parametrize(
    "change, message",
    [
        (_changed, "the signature is not good: the document was changed"),
        (_wrapped, "its signature does not cover the whole document"),
        (_twice, "it has 2 signatures"),
        (_unsigned, "it has no signatures"),
        (_no_certificate, "its signature has no certificate"),
        (_doctype, "the answer has a document type"),
    ],
    ids=lambda thing: getattr(thing, "__name__", ""),
)
def test_critical_when_metadata_was_tampered_with(site, clock, jane, listed, change, message):
    state, output = site.probe("image", *listed(change(jane.xml(marketplace(clock)))))

    assert state == 2
    assert first(output).startswith(f"VM_IMAGE CRITICAL - site: lists: images.list: {message}")


def test_critical_when_metadata_is_signed_by_a_key_that_nobody_vouches_for(
    site, clock, jane, mallory, listed
):
    signed = mallory.xml(marketplace(clock))
    dressed = re.sub(
        rb"<X509Certificate>.*</X509Certificate>",
        f"<X509Certificate>{der(jane.certificate)}</X509Certificate>".encode(),
        signed,
        flags=re.S,
    )

    assert first(site.probe("image", *listed(signed))[1]) == (
        "VM_IMAGE CRITICAL - site: lists: images.list: the signer's certificate is not accepted: unable to get local issuer "
        "certificate (cause=image)"
    )
    assert first(site.probe("image", *listed(dressed))[1]).startswith(
        "VM_IMAGE CRITICAL - site: lists: images.list: the signature is not good"
    )


def test_a_key_beside_the_certificate_is_ignored(site, clock, jane, mallory, listed):
    """With the key in the signature anybody could sign, whatever certificate is beside it."""
    signed = mallory.xml(marketplace(clock))
    numbers = load_pem_private_key(mallory.key.read_bytes(), None).public_key().public_numbers()
    encoded = [
        base64.b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()
        for value in (numbers.n, numbers.e)
    ]
    key = f"<KeyValue><RSAKeyValue><Modulus>{encoded[0]}</Modulus><Exponent>{encoded[1]}</Exponent></RSAKeyValue></KeyValue>"
    dressed = re.sub(
        rb"<KeyInfo>.*</KeyInfo>",
        f"<KeyInfo>{key}<X509Data><X509Certificate>{der(jane.certificate)}"
        "</X509Certificate></X509Data></KeyInfo>".encode(),
        signed,
        flags=re.S,
    )

    assert first(site.probe("image", *listed(dressed))[1]).startswith(
        "VM_IMAGE CRITICAL - site: lists: images.list: the signature is not good"
    )
