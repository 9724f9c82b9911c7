"""check_vm_image: each verdict as the whole line, with lists that openssl and xmlsec1 have signed."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from endorsers import Authority, der
from gateways.server import serving
from running import run_probe
from virtual import VirtualClock
from vmprobe.core.model import Image, Kind, State

SUM = "ab" * 64
OTHER = "cd" * 64
NAMES = (
    "expired",
    "images",
    "inactive",
    "mismatched",
    "missing",
    "revoked",
    "unendorsed",
    "unverified",
)


@pytest.fixture
def clock():
    return VirtualClock(utc=float(int(time.time()) + 60))  # certificates made now have to be valid


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    if not shutil.which("xmlsec1"):
        pytest.skip("xmlsec1 is not installed")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def jane(authority):
    return authority.person("Jane")


@pytest.fixture(scope="module")
def mallory(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"), "Other CA").person("Jane")


@pytest.fixture
def listed(site, authority, tmp_path):
    """Options for a list of this content."""

    def write(content, name="images.list"):
        path = tmp_path / name
        path.write_bytes(content)
        return ["--list", str(path), "--ca", str(authority.ca)]

    site.cloud.described = [
        Image("img-1", "vmprobe-test", State.READY, "active", {"sha512": SUM}),
        Image("img-2", "sl6", State.READY, "active", {"sha512": OTHER}, {"ad:id": "uuid-2"}),
    ]
    return write


def day(clock, days):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.utc() + 86400 * days))


def hepix(clock, days=30.5, endorser="/C=XX/O=Tests/CN=Jane", **images):
    """The JSON of an image list: title of an image, and its checksum."""
    images = images or {"vmprobe-test": SUM}
    return json.dumps(
        {
            "hv:imagelist": {
                "dc:identifier": "list-1",
                "dc:title": "tests",
                "dc:date:created": day(clock, -1),
                "dc:date:expires": day(clock, days),
                "hv:endorser": {
                    "hv:x509": {
                        "hv:dn": endorser,
                        "hv:ca": "/C=XX/O=Tests/CN=Test CA",
                        "hv:email": "jane@example.org",
                    }
                },
                "hv:images": [
                    {
                        "hv:image": {
                            "dc:identifier": f"uuid-{number}",
                            "dc:title": title,
                            "hv:version": "1",
                            "sl:checksum:sha512": digits,
                        }
                    }
                    for number, (title, digits) in enumerate(images.items(), 1)
                ],
            }
        }
    )


def marketplace(clock, days=30.5, more="", subject="CN=Jane,O=Tests,C=XX", sha512=SUM):
    """Metadata as the Marketplace serves it, without its signature."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dcterms="http://purl.org/dc/terms/"
 xmlns:slreq="http://mp.stratuslab.eu/slreq#" xmlns:slterms="http://mp.stratuslab.eu/slterms#" xml:base="http://mp.stratuslab.eu/">
 <rdf:Description rdf:about="#MMZu9WvwKIro-rtBQfDk4PsKO7_">
  <dcterms:identifier>MMZu9WvwKIro-rtBQfDk4PsKO7_</dcterms:identifier>
  <slreq:bytes>100</slreq:bytes>
  <slreq:checksum rdf:parseType="Resource"><slreq:algorithm>SHA-512</slreq:algorithm><slreq:value>{sha512}</slreq:value></slreq:checksum>
  <slreq:endorsement rdf:parseType="Resource">
   <dcterms:created>{day(clock, -1)}</dcterms:created>
   <slreq:endorser rdf:parseType="Resource"><slreq:email>jane@example.org</slreq:email><slreq:subject>{subject}</slreq:subject>
    <slreq:issuer>CN=Test CA,O=Tests,C=XX</slreq:issuer></slreq:endorser>
  </slreq:endorsement>
  <dcterms:valid>{day(clock, days)}</dcterms:valid>
  <dcterms:title>vmprobe-test</dcterms:title>{more}
 </rdf:Description>
</rdf:RDF>"""


def first(output):
    return output.split(" | ")[0].split("\n")[0]


def counts(output):
    """The numbers of the perfdata that are not 0."""
    found = dict(re.findall(r"(\w+)=([\d.]+)", output.split(" | ")[1]))
    return {name: int(found[name]) for name in NAMES if found.get(name, "0") != "0"}


# --- without a list -----------------------------------------------------------------------------------------------


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
            "unverified 1 is outside 0 (warning); image vmprobe-test: its manager knows no checksum by sha512",
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

    found, output = site.probe("image", *options)

    assert (found, first(output)) == (
        state,
        f"VM_IMAGE {('OK', 'WARNING', 'CRITICAL')[state]} - site: {line}",
    )
    assert counts(output) == {"images": 1, **wrong}


def test_usage_errors_are_sentences(site):
    with pytest.raises(Exception, match="--running needs a --list"):
        site.probe("image", "--running")
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


# --- lists of HEPiX -----------------------------------------------------------------------------------------------


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
    found, output = site.probe("image", *listed(jane.smime(hepix(clock, days, **images))))

    assert (found, first(output)) == (state, f"VM_IMAGE {line}")
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
        "VM_IMAGE CRITICAL - site: lists: images.list: it is signed by /C=XX/O=Tests/CN=John, who is not among those who may "
        "endorse (cause=image)"
    )
    assert first(site.probe("image", *listed(john.smime(hepix(clock))))[1]) == (
        "VM_IMAGE CRITICAL - site: lists: images.list: it names /C=XX/O=Tests/CN=Jane as its endorser, and is signed by "
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
    "content, words",
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
        ("{" * 9, "it cannot be understood: it is no JSON"),
        (
            '{"hv:imagelist": {"dc:date:expires": "soon", "hv:images": []}}',
            "it cannot be understood: 'soon' is no date",
        ),
        ("md5:x 1 2", "it cannot be understood: line 1 is not 'sha512:HEX EXPIRY NAME'"),
        ("sha512:abcd - name", "it cannot be understood: 'abcd' is no checksum by sha512"),
    ],
)
def test_a_signed_list_that_cannot_be_understood_is_one_clear_line(
    site, jane, listed, content, words
):
    state, output = site.probe("image", *listed(jane.smime(content)))

    assert (state, first(output)) == (
        2,
        f"VM_IMAGE CRITICAL - site: lists: images.list: {words} (cause=image)",
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"not a list", b"\0\xff" * 100, b"MIME-Version: 1.0\nContent-Type: text/plain\n\n{}"],
)
def test_what_is_not_signed_is_never_believed(site, listed, content):
    state, output = site.probe("image", *listed(content))

    assert state == 2
    assert first(output).startswith(
        "VM_IMAGE CRITICAL - site: lists: images.list: the signature is not good: "
    )


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
            "endorsed and not there; image sl6 is revoked: revoked"
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


# --- the Marketplace ----------------------------------------------------------------------------------------------


def test_ok_when_the_marketplaces_metadata_endorses_the_image(site, clock, jane, listed):
    state, output = site.probe("image", "-v", *listed(jane.xml(marketplace(clock))))

    assert (state, first(output)) == (
        0,
        ("VM_IMAGE OK - site: image vmprobe-test is there and unchanged, endorsed for 30.5 d"),
    )
    assert ": Marketplace metadata vmprobe-test, 1 image, signed by /C=XX/O=Tests/CN=Jane" in output


def test_a_signature_by_sha1_is_good_and_said_to_be_weak(site, clock, jane, listed):
    state, output = site.probe(
        "image", "-v", *listed(jane.xml(marketplace(clock), "rsa-sha1", "sha1"))
    )

    assert state == 0
    assert "the Marketplace's signature is by SHA-1" in output


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
    said = []

    for document in (_changed(jane.xml(marketplace(clock))), mallory.xml(marketplace(clock))):
        (tmp_path / "metadata.xml").write_bytes(
            document if isinstance(document, bytes) else document.encode()
        )
        words = ("--list", str(tmp_path / "metadata.xml"), "--ca", str(authority.ca))
        said.append(
            first(run_probe("check_vm_image", "--site", str(site), *words, preexec_fn=ignored)[1])
        )

    assert said == [
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
    """The signed document inside another one: what is read first is not what is signed."""
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
    "change, words",
    [
        (_changed, "the signature is not good: the document was changed"),
        (_wrapped, "its signature is not of the whole"),
        (_twice, "it has 2 signatures"),
        (_unsigned, "it has no signatures"),
        (_no_certificate, "its signature names no certificate"),
        (_doctype, "the answer has a document type"),
    ],
    ids=lambda thing: getattr(thing, "__name__", ""),
)
def test_critical_when_metadata_was_tampered_with(site, clock, jane, listed, change, words):
    state, output = site.probe("image", *listed(change(jane.xml(marketplace(clock)))))

    assert state == 2
    assert first(output).startswith(f"VM_IMAGE CRITICAL - site: lists: images.list: {words}")


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


def test_a_key_beside_the_certificate_is_not_looked_at(site, clock, jane, mallory, listed):
    """A key value in the signature would verify it, whoever's certificate stands beside it."""
    signed = mallory.xml(marketplace(clock))
    numbers = load_pem_private_key(mallory.key.read_bytes(), None).public_key().public_numbers()
    words = [
        base64.b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()
        for value in (numbers.n, numbers.e)
    ]
    key = f"<KeyValue><RSAKeyValue><Modulus>{words[0]}</Modulus><Exponent>{words[1]}</Exponent></RSAKeyValue></KeyValue>"
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
        match="argument --list: 'https://\\*\\*\\*@images.example.org/list' carries a user or password",
    ):
        site.probe("image", "--list", "https://jane:s3cr3t@images.example.org/list")


# --- a list that is older than the one before ---------------------------------------------------------------------------


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
            f"VM_IMAGE CRITICAL - site: lists: images.list: a replay: it is of {dates[0]}, and one of {dates[1]} was here before "
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
        f"images.list: a replay: it is of {day(clock, -9)[:10]} 00:00:00 UTC, and one of {day(clock, -2)[:10]} 00:00:00 UTC was here"
        in output
    )


def test_a_plain_list_is_as_old_as_its_signature(site, clock, jane, listed, state_directory):
    signed = jane.smime(f"sha512:{SUM} - vmprobe-test\n")
    site.probe("image", *listed(signed))
    (kept,) = (state_directory / "lists").iterdir()
    seen = json.loads(kept.read_text())["made"]

    assert 0 <= clock.utc() - seen < 600
    kept.write_text(json.dumps({"made": seen + 1}))
    state, output = site.probe("image", *listed(signed))
    assert state == 2
    assert "images.list: a replay: it is of " in output


def test_a_list_that_does_not_say_when_it_was_made_is_noted(site, jane, listed, state_directory):
    state, output = site.probe(
        "image", "-v", *listed(jane.smime(f"sha512:{SUM} - vmprobe-test\n", "-noattr"))
    )

    assert state == 0
    assert (
        "images.list: it does not say when it was made, so that an older one would not be noticed"
        in output
    )
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
            "VM_IMAGE CRITICAL - site: lists: images.list: it may be a replay: it does not say when it was made, "
            f"and one of {date} was here before (lists/{kept.name}) (cause=image)"
        ),
    )


def test_critical_when_a_list_was_signed_before_another_one_of_the_same_date(
    site, clock, jane, listed, state_directory
):
    signed = jane.smime(hepix(clock))
    site.probe("image", *listed(signed))
    (kept,) = (state_directory / "lists").iterdir()
    seen = json.loads(kept.read_text())

    assert site.probe("image", *listed(signed))[0] == 0
    kept.write_text(json.dumps({**seen, "signed": seen["signed"] + 1}))
    state, output = site.probe("image", *listed(signed))
    assert state == 2
    assert "images.list: a replay: signed on " in output
    assert site.probe("image", *listed(_hepix_of(clock, jane, 0)))[0] == 0


def test_a_list_of_the_future_does_not_shut_out_the_next_one(site, clock, jane, listed):
    assert site.probe("image", *listed(_hepix_of(clock, jane, 3000)))[0] == 0

    clock.sleep(60)
    assert site.probe("image", *listed(_hepix_of(clock, jane, 0)))[0] == 0


def test_what_is_not_believed_is_not_remembered(
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
def test_a_damaged_memory_of_lists_is_set_aside_and_said(
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
    assert "cannot be written, so that an older list would not be noticed: " in output


# --- what a list has to say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more, words",
    [
        ("<dcterms:identifier>other</dcterms:identifier>", "it has 2 times identifier"),
        ("<dcterms:valid>2099-01-01</dcterms:valid>", "it has 2 times valid"),
        (
            f"<slreq:checksum><slreq:algorithm>SHA512</slreq:algorithm><slreq:value>{OTHER}</slreq:value></slreq:checksum>",
            "it has two checksums by sha512 of one image",
        ),
        ("</rdf:Description><rdf:Description>", "it has 2 descriptions, and not one"),
    ],
)
def test_metadata_that_says_two_things_is_not_understood(site, clock, jane, listed, more, words):
    assert first(site.probe("image", *listed(jane.xml(marketplace(clock, more=more))))[1]) == (
        f"VM_IMAGE CRITICAL - site: lists: images.list: it cannot be understood: {words} (cause=image)"
    )


@pytest.mark.parametrize(
    "content, words",
    [
        ('{"hv:imagelist": {"hv:images": []}, "hv:imagelist": {}}', "it says the same thing twice"),
        (
            '{"hv:imagelist": {"hv:images": [{"hv:image": {"dc:identifier": " ", "dc:title": "x"}}]}}',
            "it has an image without an identifier",
        ),
        (b"sha512:" + SUM.encode() + b" - \xff\n", "it is not in UTF-8"),
        (
            "Content-Type: text/html\nContent-Transfer-Encoding: base64\n\nIyBub3RoaW5n\n",
            "what is signed is text/html, base64, and not plain text",
        ),
        (
            "Content-Type: multipart/mixed;\n boundary=x\n\n# x\n",
            "what is signed is multipart/mixed;, 7bit, and not plain text",
        ),
    ],
)
def test_a_signed_text_that_two_readers_would_take_differently_is_not_understood(
    site, jane, listed, content, words
):
    assert first(site.probe("image", *listed(jane.smime(content, "-binary", "-nodetach")))[1]) == (
        f"VM_IMAGE CRITICAL - site: lists: images.list: it cannot be understood: {words} (cause=image)"
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
    said = '{"hv:imagelist": {"hv:images": [{"hv:image": {"dc:identifier": "img-1", "sl:checksum:whirlpool": "ab"}}]}}'

    state, output = site.probe("image", *listed(jane.smime(said)))

    assert (state, first(output)) == (
        1,
        (
            "VM_IMAGE WARNING - site: unverified 1 is outside 0 (warning); image vmprobe-test: its endorsement states no checksum "
            "that is known here"
        ),
    )
