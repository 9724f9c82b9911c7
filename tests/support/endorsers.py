"""Endorsers, who sign lists of images with openssl and xmlsec1."""

import base64
import re
import subprocess

_DSIG = "http://www.w3.org/2000/09/xmldsig#"


def _run(*command, **words):
    return subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, **words
    ).stdout


class Authority:
    """A CA. ``ca`` is the path of its certificate, signed with ``md`` by ``above``, or by itself."""

    def __init__(self, directory, name="Test CA", above=None, md="sha256"):
        self.directory = directory
        self.ca, self._key = directory / "ca.pem", directory / "ca.key"
        signed_by = ("-CA", above.ca, "-CAkey", above._key) if above else ()
        request = _run(
            "openssl",
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            self._key,
            "-subj",
            f"/C=XX/O=Tests/CN={name}",
        )
        extensions = directory / "ca.extensions"
        extensions.write_text(
            "basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n"
        )
        _run(
            "openssl",
            "x509",
            "-req",
            f"-{md}",
            *(signed_by or ("-signkey", self._key)),
            "-set_serial",
            "1",
            "-days",
            "30",
            "-extfile",
            extensions,
            "-out",
            self.ca,
            input=request,
        )

    def person(self, name, subject=None):
        """A signer with the subject ``/C=XX/O=Tests/CN=<name>``, or another one in openssl's form."""
        key, request, certificate = (
            self.directory / f"{name}.{end}" for end in ("key", "csr", "pem")
        )
        _run(
            "openssl",
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            request,
            "-subj",
            subject or f"/C=XX/O=Tests/CN={name}",
        )
        _run(
            "openssl",
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.ca,
            "-CAkey",
            self._key,
            "-CAcreateserial",
            "-days",
            "20",
            "-out",
            certificate,
        )
        return Person(self.directory, key, certificate)


class Person:
    """A signer with a key and a certificate."""

    def __init__(self, directory, key, certificate):
        self.directory, self.key, self.certificate = directory, key, certificate

    def smime(self, content, *options, md="sha256", others=()):
        """``content`` in clear, signed by S/MIME, also by ``others``; ``options`` are openssl's."""
        more = [
            word for other in others for word in ("-signer", other.certificate, "-inkey", other.key)
        ]
        return _run(
            "openssl",
            "cms",
            "-sign",
            "-signer",
            self.certificate,
            "-inkey",
            self.key,
            *more,
            "-md",
            md,
            *options,
            input=content if isinstance(content, bytes) else content.encode(),
        )

    def xml(
        self, content, method="rsa-sha256", digest="sha256", uri="", transforms=None, prefix=""
    ):
        """``content`` with an enveloped signature, which xmlsec1 makes from a template in it."""
        algorithm = {
            "rsa-sha256": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "rsa-sha1": _DSIG + "rsa-sha1",
            "rsa-md5": "http://www.w3.org/2001/04/xmldsig-more#rsa-md5",
        }[method]
        digesting = {"sha256": "http://www.w3.org/2001/04/xmlenc#sha256", "sha1": _DSIG + "sha1"}[
            digest
        ]
        transforms = transforms or [_DSIG + "enveloped-signature"]
        listed = "".join(f'<Transform Algorithm="{transform}"/>' for transform in transforms)
        template = (
            f'<Signature xmlns="{_DSIG}"><SignedInfo>'
            '<CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"/>'
            f'<SignatureMethod Algorithm="{algorithm}"/><Reference URI="{uri}"><Transforms>{listed}</Transforms>'
            f'<DigestMethod Algorithm="{digesting}"/><DigestValue/></Reference></SignedInfo><SignatureValue/>'
            "<KeyInfo><X509Data/></KeyInfo></Signature>"
        )
        if prefix:
            template = template.replace("</", f"</{prefix}:").replace("xmlns=", f"xmlns:{prefix}=")
            template = re.sub(r"<(?=\w)", f"<{prefix}:", template)
        path = self.directory / "template.xml"
        path.write_text(content.replace("</rdf:RDF>", template + "</rdf:RDF>"))
        return _run("xmlsec1", "--sign", "--privkey-pem", f"{self.key},{self.certificate}", path)


def der(certificate):
    """A certificate as base64, without the lines around it."""
    return base64.b64encode(_run("openssl", "x509", "-in", certificate, "-outform", "DER")).decode()
