"""XML signatures: only what is signed is read, also in forged, changed and odd documents."""

import re
import time
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from endorsers import der
from vmprobe.checks.image import signature, signedxml
from vmprobe.core.errors import CloudError, VmprobeError
from vmprobe.transport import dn

DSIG = "http://www.w3.org/2000/09/xmldsig#"
SAID = (
    '<?xml version="1.0"?><rdf:RDF xmlns:rdf="urn:rdf" xmlns:t="urn:t"><t:image t:kind="a&#10;b &amp; &quot;c&quot;">good'
    "<t:more/> &lt;tail&gt; &#13;</t:image></rdf:RDF>"
)


@pytest.fixture(scope="module")
def signed(authority, jane):
    return jane.xml(SAID)


@pytest.fixture(scope="module")
def read(authority):
    """Verify a document. Returns the text of its image, and the signer."""

    def image(document):
        signed = signature.enveloped(document, str(authority.ca), time.time() + 60, 20)
        return signed.content.findtext("image"), dn.to_text(signed.signer)

    return image


def test_a_signed_document_is_read_without_its_signature(read, signed, authority):
    assert read(signed) == ("good", "/C=XX/O=Tests/CN=Jane")

    content = signature.enveloped(signed, str(authority.ca), time.time() + 60, 20).content
    assert ElementTree.tostring(content) == (
        b'<RDF><image kind="a&#10;b &amp; &quot;c&quot;">good<more /> &lt;tail&gt; \r</image></RDF>'
    )


@pytest.mark.parametrize("prefix", ["", "ds", "d-s", "d.s", "\u00e9", "KeyInfo"])
@pytest.mark.parametrize(
    "transforms",
    [None, [DSIG + "enveloped-signature", "http://www.w3.org/2001/10/xml-exc-c14n#"]],
    ids=["inclusive", "exclusive"],
)
def test_a_signature_is_good_whatever_its_prefix_is(read, jane, prefix, transforms):
    assert read(jane.xml(SAID, prefix=prefix, transforms=transforms)) == (
        "good",
        "/C=XX/O=Tests/CN=Jane",
    )


@pytest.mark.parametrize(
    "old, new",
    [
        (b"good", b"good<!-- KeyInfo -->"),
        (b"good", b"<![CDATA[good]]>"),
        (b"good", b"g<?x y?>oo&#100;"),
        (b"<t:more/>", b"<t:more></t:more>"),
        (b"<t:more/>", b"<t:more\n/>"),
    ],
    ids=["comment", "cdata", "instruction", "pair", "space"],
)
def test_another_way_to_write_the_same_tree_is_the_same_document(read, signed, old, new):
    assert read(signed.replace(old, new, 1)) == ("good", "/C=XX/O=Tests/CN=Jane")


EVIL = b"<t:image>evil</t:image>"


def _between_comments(document):
    return document.replace(
        b"<t:image", b"<!-- <KeyInfo> -->" + EVIL + b"<!-- </KeyInfo> --><t:image", 1
    )


def _in_key_info(document):
    return document.replace(b"<KeyInfo>", b"<KeyInfo>" + EVIL, 1)


def _in_an_object(document):
    return document.replace(b"</Signature>", b"<Object>" + EVIL + b"</Object></Signature>", 1)


def _in_signed_info(document):
    return document.replace(b"</SignedInfo>", EVIL + b"</SignedInfo>", 1)


def _key_info_around(document):
    return document.replace(
        b"<t:image", b'<KeyInfo xmlns="' + DSIG.encode() + b'">' + EVIL + b"</KeyInfo><t:image", 1
    )


def _in_cdata(document):
    return document.replace(b"good", b"<![CDATA[<KeyInfo>]]>evil<![CDATA[</KeyInfo>]]>", 1)


def _in_an_instruction(document):
    return document.replace(b"<t:image", b"<?x <KeyInfo>?>" + EVIL + b"<?x </KeyInfo>?><t:image", 1)


def _by_a_default(document):
    return document.replace(
        b"<rdf:RDF", b'<!DOCTYPE x [<!ATTLIST t:image kind CDATA "evil">]><rdf:RDF', 1
    )


def _by_an_entity(document):
    return document.replace(b"good", b"&evil;", 1)


def _other_namespace(document):
    return document.replace(b"urn:t", b"urn:evil", 1)


def _uri(document):
    return document.replace(b'URI=""', b'URI="#x"', 1)


def _no_uri(document):
    return document.replace(b' URI=""', b"", 1)


def _two_references(document):
    reference = re.search(rb"<Reference.*</Reference>", document, re.S)[0]
    return document.replace(reference, reference + reference, 1)


def _xpath(document):
    return document.replace(
        b"</Transforms>",
        b'<Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116">'
        b"<XPath>not(self::t:image)</XPath></Transform></Transforms>",
        1,
    )


def _moved_below(document):
    signature_element = re.search(rb"<Signature.*</Signature>", document, re.S)[0]
    return document.replace(signature_element, b"").replace(
        b"</t:image>", signature_element + b"</t:image>"
    )


def _by_a_shared_secret(document):
    return document.replace(b"xmldsig-more#rsa-sha256", b"xmldsig-more#hmac-sha256")


@pytest.mark.parametrize(
    "change",
    [
        _between_comments,
        _in_key_info,
        _in_an_object,
        _in_signed_info,
        _key_info_around,
        _in_cdata,
        _in_an_instruction,
        _by_a_default,
        _by_an_entity,
        _other_namespace,
        _uri,
        _no_uri,
        _two_references,
        _xpath,
        _moved_below,
        _by_a_shared_secret,
    ],
    ids=lambda change: change.__name__,
)
def test_nothing_is_read_that_was_not_signed(read, signed, change):
    changed = change(signed)
    assert changed != signed

    if change is _in_key_info:  # not a part of the document: neither signed nor read
        assert read(changed) == ("good", "/C=XX/O=Tests/CN=Jane")
    else:
        with pytest.raises(VmprobeError) as refused:
            read(changed)
        assert refused.value.cause == "image"


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.replace('"1.0"', '"1.0" encoding="UTF-16LE"').encode("utf-16-le"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace('"1.0"', '"1.0" encoding="UTF-16"').encode(),
        lambda text: text.replace("good", "g\u00f6od").encode("latin-1"),
        lambda text: text.replace('"1.0"', '"1.0" encoding="iso-8859-1"').encode(),
        lambda text: text.encode("utf-32-le"),
        lambda text: text.replace('"1.0"', '"1.0" encoding="utf-7"').encode(),
    ],
    ids=["utf-16-le", "mark", "said", "latin-1", "latin-1-said", "utf-32", "utf-7"],
)
def test_what_is_not_utf_8_is_refused(read, signed, encode):
    with pytest.raises(VmprobeError, match="it is not in UTF-8|the answer is no XML"):
        read(encode(signed.decode()))


@pytest.mark.parametrize("prefix", ["", "ds", "d-s"])
def test_a_bare_key_beside_somebody_elses_certificate_counts_for_nothing(
    read, jane, mallory, prefix
):
    forged = mallory.xml(SAID.replace("good", "evil"), prefix=prefix).decode()
    p = f"{prefix}:" if prefix else ""
    numbers = f"<{p}KeyValue><{p}RSAKeyValue><{p}Modulus>{_modulus(mallory)}</{p}Modulus><{p}Exponent>AQAB</{p}Exponent></{p}RSAKeyValue></{p}KeyValue>"
    dressed = re.sub(
        f"<{p}KeyInfo>.*</{p}KeyInfo>",
        f"<{p}KeyInfo>{numbers}<{p}X509Data><{p}X509Certificate>{der(jane.certificate)}"
        f"</{p}X509Certificate></{p}X509Data></{p}KeyInfo>",
        forged,
        flags=re.S,
    )

    with pytest.raises(
        CloudError, match="the signature is not good: it does not fit the certificate"
    ):
        read(dressed.encode())


def _modulus(person):
    import base64

    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    number = load_pem_private_key(person.key.read_bytes(), None).public_key().public_numbers().n
    return base64.b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode()


def test_a_second_certificate_does_not_sign(read, jane, mallory):
    """Mallory's signature and certificate, with Jane's certificate before or after his."""
    forged = mallory.xml(SAID)
    hers = f"<X509Certificate>{der(jane.certificate)}</X509Certificate>".encode()

    with pytest.raises(
        CloudError, match="the signature is not good: it does not fit the certificate"
    ):
        read(forged.replace(b"<X509Data>", b"<X509Data>" + hers, 1))
    with pytest.raises(
        CloudError,
        match="the signer's certificate is not accepted: unable to get local issuer certificate",
    ):
        read(forged.replace(b"</X509Data>", hers + b"</X509Data>", 1))


def test_md5_does_not_count(signed, read):
    with pytest.raises(
        CloudError, match="the Marketplace's signature uses MD5, which is not accepted"
    ):
        read(signed.replace(b"xmldsig-more#rsa-sha256", b"xmldsig-more#rsa-md5"))
    with pytest.raises(
        CloudError, match="the Marketplace's signature uses MD5, which is not accepted"
    ):
        read(
            signed.replace(
                b"http://www.w3.org/2001/04/xmlenc#sha256",
                b"http://www.w3.org/2001/04/xmldsig-more#md5",
            )
        )


@pytest.mark.parametrize("method, digest", [("rsa-sha1", "sha256"), ("rsa-sha256", "sha1")])
def test_sha1_is_noted_in_the_signature_and_in_the_digest(authority, jane, method, digest):
    signed = signature.enveloped(
        jane.xml(SAID, method, digest), str(authority.ca), time.time() + 60, 20
    )

    assert signed.notes == ("the Marketplace's signature uses SHA-1",)


PIECES = [
    b"<!--",
    b"-->",
    b"<KeyInfo>",
    b"</KeyInfo>",
    b"<![CDATA[",
    b"]]>",
    b"<?x ",
    b"?>",
    b"&#x20;",
    b"&lt;",
    b" ",
    b"\r\n",
    b"\0",
    b"\xff",
    b"<t:image>evil</t:image>",
    b"evil",
    b"</t:image>",
    b"<t:image>",
    b"</rdf:RDF>",
    b"<rdf:RDF>",
    b' xmlns:t="urn:evil"',
    b' xmlns=""',
    b'<!DOCTYPE rdf:RDF [<!ENTITY e "evil">]>',
    b"&e;",
    b'<Signature xmlns="' + DSIG.encode() + b'"/>',
    b"<Object>",
    b"</Object>",
]


@given(
    some.lists(
        some.tuples(some.integers(0, 1000), some.integers(0, 40), some.sampled_from(PIECES)),
        min_size=1,
        max_size=4,
    )
)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_however_a_signed_document_is_changed_it_says_the_same_or_is_refused(
    authority, signed, changes
):
    """Insert pieces that are difficult for parsers at any place, or replace something by them."""
    changed = signed
    for at, over, piece in changes:
        at = at * len(changed) // 1000
        changed = changed[:at] + piece + changed[at + (over if over < 20 else 0) :]

    try:
        content = signature.enveloped(changed, str(authority.ca), time.time() + 60, 20).content
    except VmprobeError:
        return
    assert ElementTree.tostring(content) == (
        b'<RDF><image kind="a&#10;b &amp; &quot;c&quot;">good<more /> &lt;tail&gt; \r</image></RDF>'
    )


TEXT = some.text(max_size=12).map(
    lambda text: "".join(
        letter for letter in text if letter in "\t\n\r" or " " <= letter < "\ud800"
    )
)


@given(TEXT, TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_tree_is_written_as_it_was_read(text, value):
    template = (
        f'<a xmlns="urn:a" xmlns:b="urn:b"><b:c b:d="" e=""/><Signature xmlns="{DSIG}"><SignedInfo><CanonicalizationMethod '
        'Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/><SignatureMethod '
        'Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/><Reference URI=""><Transforms><Transform '
        f'Algorithm="{DSIG}enveloped-signature"/></Transforms><DigestMethod Algorithm="{DSIG}sha1"/><DigestValue>x</DigestValue>'
        "</Reference></SignedInfo><SignatureValue>y</SignatureValue><KeyInfo><X509Data><X509Certificate>YQ==</X509Certificate>"
        "</X509Data></KeyInfo></Signature></a>"
    )
    document = signedxml.read(template.encode())
    document.root.children[0].text, document.root.children[0].attributes["e"] = text, value

    bare = ElementTree.fromstring(document.bare())
    content = document.content()

    assert (bare[0].text or "", bare[0].get("e"), bare[0].get("{urn:b}d")) == (text, value, "")
    assert (content[0].text or "", content[0].get("e"), len(content)) == (text, value, 1)
    assert [element.tag.partition("}")[2] for element in bare.iter()].count("KeyInfo") == 1
    assert bare.find(f"{{{DSIG}}}Signature/{{{DSIG}}}KeyInfo/{{{DSIG}}}KeyName").text == "vmprobe"


def test_a_long_text_in_small_pieces_takes_no_time():
    began = time.monotonic()
    with pytest.raises(VmprobeError):
        signedxml.read(b"<a>" + b"x<!---->" * 400_000 + b"</a>")

    assert time.monotonic() - began < 5
