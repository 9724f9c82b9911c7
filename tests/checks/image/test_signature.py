"""Certificates between the signer and the CA, and S/MIME messages signed by openssl."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as some

from endorsers import Authority, der
from vmprobe.checks.image import cms, signature
from vmprobe.core.errors import ClientError, CloudError
from vmprobe.transport import dn

DSIG = "http://www.w3.org/2000/09/xmldsig#"
SAID = (
    '<?xml version="1.0"?><rdf:RDF xmlns:rdf="urn:rdf" xmlns:t="urn:t"><t:image t:kind="a&#10;b &amp; &quot;c&quot;">good'
    "<t:more/> &lt;tail&gt; &#13;</t:image></rdf:RDF>"
)


@pytest.fixture(scope="module")
def message(authority):
    """Verify and read an S/MIME message."""

    def content(document):
        return signature.smime(document, str(authority.ca), time.time() + 60, 20)

    return content


# --- certificates between the signer's and the CA's ----------------------------------------


@pytest.fixture(params=["xml", "smime"])
def signed_below(request, authority, tmp_path):
    """Verify a list whose signer has a certificate of an intermediate CA, which the trusted CA signed with the digest ``md``."""

    def sign(md, name="Lower CA"):
        below = Authority(tmp_path, name, authority, md)
        john = below.person("John")
        if request.param == "smime":
            return signature.smime(
                john.smime("a list\n", "-certfile", below.ca),
                str(authority.ca),
                time.time() + 60,
                20,
            )
        beside = f"<X509Certificate>{der(below.ca)}</X509Certificate></X509Data>".encode()
        document = john.xml(SAID).replace(b"</X509Data>", beside)
        return signature.enveloped(document, str(authority.ca), time.time() + 60, 20)

    return sign


@pytest.mark.parametrize(
    "md, notes", [("sha256", ()), ("sha1", ("a certificate beside the signer's uses SHA-1",))]
)
def test_the_authority_may_vouch_by_another_one(signed_below, md, notes):
    signed = signed_below(md)

    assert (dn.to_text(signed.signer), signed.notes) == ("/C=XX/O=Tests/CN=John", notes)


@pytest.mark.parametrize("name", ["Lower CA", "Test CA"], ids=["lower", "same-name"])
def test_an_authority_that_another_one_vouches_for_by_md5_is_none(signed_below, name):
    with pytest.raises(
        CloudError,
        match="certificates signed with MD5 or older are ignored: (unable to get local issuer certificate|"
        "certificate signature failure)",
    ):
        signed_below("md5", name)


# --- S/MIME ----------------------------------------------------------------------------------------


def test_a_message_is_read_as_far_as_it_is_signed(message, jane):
    signed = jane.smime("a list\n")
    content = message(
        b"To: somebody\n"
        + signed.replace(b"\n\n", b"\n\nan evil preamble\n", 1)
        + b"\nan evil end\n"
    )

    assert content.content == b"a list\r\n"
    assert (dn.to_text(content.signer), content.notes) == ("/C=XX/O=Tests/CN=Jane", ())
    assert abs(content.signed_at - time.time()) < 600


def test_a_message_whose_content_is_within_its_signature_is_read(message, jane):
    assert message(jane.smime("a list\n", "-nodetach")).content == b"a list\r\n"


def test_a_name_with_a_slash_in_it_is_not_a_name_of_two_parts(message, authority):
    slash = message(authority.person("slash", "/C=XX/O=Tests/CN=Jane\\/OU=Staff").smime("x")).signer
    parts = message(authority.person("parts", "/C=XX/O=Tests/CN=Jane/OU=Staff").smime("x")).signer

    assert dn.to_text(slash) == "/C=XX/O=Tests/CN=Jane\\/OU=Staff"
    assert not dn.matches("/C=XX/O=Tests/CN=Jane/OU=Staff", slash)
    assert dn.matches("/C=XX/O=Tests/CN=Jane/OU=Staff", parts)


@pytest.mark.parametrize("md, reason", [("md5", "the signature uses MD5, which is not accepted")])
def test_a_digest_that_anybody_can_forge_does_not_count(message, jane, md, reason):
    with pytest.raises(CloudError, match=reason):
        message(jane.smime("a list\n", md=md))


def test_what_is_signed_as_something_else_than_a_text_is_refused(message, jane):
    with pytest.raises(CloudError, match="its signature cannot be read"):
        message(jane.smime("a list\n", "-nodetach", "-econtent_type", "1.2.840.113549.1.9.16.1.4"))


def test_sha1_is_noted(message, jane):
    assert message(jane.smime("a list\n", md="sha1")).notes == ("the signature uses SHA-1",)


def test_a_message_with_more_than_one_signer_or_none_is_refused(message, authority, jane):
    john = authority.person("John")

    for others in ((john,), (john, authority.person("Jim"))):
        with pytest.raises(CloudError, match=f"it has {len(others) + 1} signers instead of one"):
            message(jane.smime("a list\n", others=others))


def test_the_second_part_of_another_message_signs_nothing(message, jane):
    """Put Jane's signature of one list under the text of another one."""
    first, other = jane.smime("one list\n"), jane.smime("another\n")
    border = [document.split(b'boundary="')[1].split(b'"')[0] for document in (first, other)]
    parts = [document.split(b"--" + line) for document, line in zip((first, other), border)]

    with pytest.raises(CloudError, match="the signature is not good: verification failure"):
        message((b"--" + border[0]).join([parts[0][0], parts[0][1], parts[1][2], parts[0][3]]))


def test_openssl_1_1_1_which_knows_of_no_stores_verifies_too(
    message, jane, mallory, tmp_path, monkeypatch
):
    old = tmp_path / "openssl"
    old.write_text(
        "#!/bin/sh\n"
        "[ $1 != version ] || { echo OpenSSL 1.1.1k  FIPS 25 Mar 2021; exit; }\n"
        "for word; do [ $word != -no-CAstore ] || { echo $1: Unrecognized flag no-CAstore >&2; exit 1; }; done\n"
        'exec /usr/bin/openssl "$@"\n'
    )
    old.chmod(0o755)
    good, foreign = jane.smime("a list\n"), mallory.smime("a list\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert message(good).content == b"a list\r\n"
    with pytest.raises(
        CloudError, match="the signature is not good: unable to get local issuer certificate"
    ):
        message(foreign)


@pytest.mark.parametrize("script", ["exec sleep 60", "sleep 60"], ids=["it", "what-it-starts"])
def test_openssl_that_does_not_answer_is_not_waited_for(
    message, jane, tmp_path, monkeypatch, script
):
    slow = tmp_path / "openssl"
    slow.write_text(f"#!/bin/sh\n{script}\n")
    slow.chmod(0o755)
    signed = jane.smime("a list\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    began = time.time()

    with pytest.raises(ClientError, match="openssl did not end within 0\\.[23][0-9]* s"):
        signature.smime(signed, "/nowhere", time.time(), 0.3)
    assert time.time() - began < 20


def test_no_place_for_temporary_files_is_one_line(jane, monkeypatch):
    signed = jane.smime("a list\n")
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")

    with pytest.raises(
        ClientError, match="cannot create temporary files: No such file or directory"
    ):
        signature.smime(signed, "/nowhere", time.time(), 5)


@given(some.binary(max_size=60))
def test_what_is_no_message_is_a_value_error(der):
    with pytest.raises((ValueError, LookupError)):
        cms.signers(b"\x30" + der)
