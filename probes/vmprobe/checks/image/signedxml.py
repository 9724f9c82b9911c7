"""Read an XML document that carries its own signature, as one tree.

The document that xmlsec1 verifies is written from this tree, and the suite goes on to read the same
tree. So no difference between two XML readers can hide content: encodings other than UTF-8,
document types and entities are refused; comments and processing instructions do not get into the
tree; CDATA becomes text. xmlsec1 sees exactly the elements, attributes and texts that the suite
reads. Signatures follow XML Signature Syntax and Processing 1.1 (W3C).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Dict, List, NamedTuple, Optional, Tuple
from xml.etree import ElementTree

from vmprobe.core.errors import CloudError, GatewayFailed
from vmprobe.core.text import cut
from vmprobe.transport import xml

KEY = "vmprobe"  # name of the one key that xmlsec1 is given
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_ENC = "http://www.w3.org/2001/04/xmlenc#"
_ENVELOPED = _DSIG + "enveloped-signature"
_CANONICAL = re.compile(
    r"http://www\.w3\.org/(TR/2001/REC-xml-c14n-20010315|2006/12/xml-c14n11|2001/10/xml-exc-c14n#)"
    r"(#?WithComments)?"
)
_SIGNATURES = {  # only with a public key: those with a shared secret are refused
    _DSIG + "rsa-sha1": "SHA-1",
    _DSIG + "dsa-sha1": "SHA-1",
    _MORE + "ecdsa-sha1": "SHA-1",
    _MORE + "rsa-md5": "MD5",
    **{
        f"{_MORE}{key}-sha{bits}": f"SHA-{bits}"
        for key in ("rsa", "ecdsa")
        for bits in (224, 256, 384, 512)
    },
    "http://www.w3.org/2009/xmldsig11#dsa-sha256": "SHA-256",
}
_DIGESTS = {
    _DSIG + "sha1": "SHA-1",
    _MORE + "md5": "MD5",
    _MORE + "sha224": "SHA-224",
    _ENC + "sha256": "SHA-256",
    _MORE + "sha384": "SHA-384",
    _ENC + "sha512": "SHA-512",
}
_MOST_CERTIFICATES = 10
_NOT_OVER_ALL = "its signature does not cover the whole document"
_SEPARATOR = "\f"  # no XML document may contain it, so no name or namespace has it


class Node:
    """An element.

    ``attributes`` includes the namespace declarations, all under the names as written.
    """

    __slots__ = ("space", "name", "prefix", "attributes", "text", "children", "tail")

    def __init__(
        self,
        space: str,
        name: str,
        prefix: str = "",
        attributes: Optional[Dict[str, str]] = None,
        text: str = "",
    ):
        self.space, self.name, self.prefix, self.attributes = space, name, prefix, attributes or {}
        self.text, self.tail = text, ""
        self.children: List[Node] = []

    def walk(self) -> List["Node"]:
        """This element and all below it, in the document's order."""
        return [self] + [below for child in self.children for below in child.walk()]


class Document(NamedTuple):
    """A document with one signature over all of it, which is not verified yet."""

    root: Node  # includes the signature
    signature: Node
    certificates: Tuple[bytes, ...]  # PEM, the signer's own first
    hashes: Tuple[str, ...]  # of the signature and of the digest, like "SHA-256"

    def bare(self) -> bytes:
        """The document for xmlsec1.

        All key information is replaced by KEY, the name of the key that it is given.
        """
        others = [child for child in self.signature.children if child.name != "KeyInfo"]
        key_info = Node(_DSIG, "KeyInfo", self.signature.prefix)
        key_info.children = [Node(_DSIG, "KeyName", self.signature.prefix, text=KEY)]
        original, self.signature.children = self.signature.children, [*others, key_info]
        try:
            return _to_xml(self.root).encode("utf-8")
        finally:
            self.signature.children = original

    def content(self) -> ElementTree.Element:
        """The signed content: all but the signature itself, names without their namespaces."""
        return _without(self.root, self.signature)


def read(document: bytes) -> Document:
    """Parse a document with one signature over all of it.

    CloudError (cause image) for anything else.
    """
    root = _parse(document)
    signatures = [node for node in root.walk() if node.space == _DSIG and node.name == "Signature"]
    if len(signatures) != 1:
        raise untrusted(f"it has {len(signatures) or 'no'} signatures instead of one")
    signature = signatures[0]
    if not any(child is signature for child in root.children):
        raise untrusted(_NOT_OVER_ALL)
    return Document(root, signature, tuple(_certificates(signature)), _hashes(signature))


def untrusted(why: str) -> CloudError:
    """The error of a document that is not to be trusted."""
    return CloudError(why, cause="image")


def _hashes(signature: Node) -> Tuple[str, ...]:
    """The hashes of signature and digest; CloudError if they do not cover the whole document."""
    info, *_ = _children(signature, ("SignedInfo", "SignatureValue"), ("KeyInfo",))
    canonicalization, method, reference = _children(
        info, ("CanonicalizationMethod", "SignatureMethod", "Reference")
    )
    transforms, digest, _ = _children(reference, ("Transforms", "DigestMethod", "DigestValue"))
    first, *others = [
        _algorithm(transform) for transform in _children(transforms, ("Transform",), ("Transform",))
    ]
    canonical = [_algorithm(canonicalization), *others]
    if (
        reference.attributes.get("URI") != ""
        or first != _ENVELOPED
        or not all(map(_CANONICAL.fullmatch, canonical))
    ):
        raise untrusted(_NOT_OVER_ALL)
    return _known(_SIGNATURES, method), _known(_DIGESTS, digest)


def _children(node: Node, required: Tuple[str, ...], optional: Tuple[str, ...] = ()) -> List[Node]:
    """The children of a part of the signature.

    Exactly the required ones in this order, then all of the optional ones or none; else CloudError.
    """
    names = tuple(
        child.name if child.space == _DSIG else f"{child.space} {child.name}"
        for child in node.children
    )
    if names not in (required, required + optional):
        content = cut(", ".join(names), 100) or "nothing"
        raise untrusted(f"{_NOT_OVER_ALL}: {node.name} contains {content}")
    return node.children


def _algorithm(node: Node) -> str:
    return node.attributes.get("Algorithm", "")


def _known(algorithms: Dict[str, str], method: Node) -> str:
    algorithm = _algorithm(method)
    if algorithm not in algorithms:
        raise untrusted(f"it is signed by {cut(algorithm, 80) or 'nothing'}, which is not accepted")
    return algorithms[algorithm]


def _certificates(signature: Node) -> List[bytes]:
    """The certificates in a signature, as PEM, the signer's own first."""
    nodes = [node for info in signature.children if info.name == "KeyInfo" for node in info.walk()]
    encoded = [
        node.text for node in nodes if node.space == _DSIG and node.name == "X509Certificate"
    ]
    certificates = []
    for text in encoded[:_MOST_CERTIFICATES]:
        try:
            der = base64.b64decode(re.sub(r"\s", "", text), validate=True)
        except (binascii.Error, ValueError):
            raise untrusted("a certificate in its signature cannot be read") from None
        certificates.append(
            b"-----BEGIN CERTIFICATE-----\n"
            + base64.encodebytes(der)
            + b"-----END CERTIFICATE-----\n"
        )
    if not certificates:
        raise untrusted("its signature has no certificate")
    return certificates


# --- reading --------------------------------------------------------------------------------------


def _parse(document: bytes) -> Node:
    from xml.parsers import expat

    try:
        document.decode("utf-8")
    except UnicodeDecodeError:
        raise untrusted("it is not in UTF-8") from None
    parser = expat.ParserCreate("utf-8", _SEPARATOR)
    parser.namespace_prefixes = True
    builder = _Builder()
    parser.XmlDeclHandler, parser.StartNamespaceDeclHandler = _check_encoding, builder.declare
    try:
        return xml.parse_into(document, builder, parser=parser, rename=str)
    except GatewayFailed as wrong:
        raise untrusted(str(wrong)) from None


def _check_encoding(version: str, encoding: Optional[str], standalone: int) -> None:
    if encoding is not None and encoding.upper() not in ("UTF-8", "UTF8", "US-ASCII"):
        raise untrusted(f"it is not in UTF-8, but says it is in {cut(encoding, 40)}")


class _Builder:
    """Builds the tree from the events of an expat parser."""

    def __init__(self) -> None:
        self._open: List[Node] = []
        self._root: Optional[Node] = None
        self._declared: Dict[str, str] = {}

    def declare(self, prefix: Optional[str], space: Optional[str]) -> None:
        self._declared[f"xmlns:{prefix}" if prefix else "xmlns"] = space or ""

    def start(self, name: str, attributes: Dict[str, str]) -> None:
        space, local, prefix = _split(name)
        as_written = dict(self._declared)
        for key, value in attributes.items():
            _, key_name, key_prefix = _split(key)
            as_written[f"{key_prefix}:{key_name}" if key_prefix else key_name] = value
        node = Node(space, local, prefix, as_written)
        self._declared = {}
        if self._open:
            self._open[-1].children.append(node)
        self._root = self._root or node
        self._open.append(node)

    def data(self, text: str) -> None:
        if self._open[-1].children:
            self._open[-1].children[-1].tail += text
        else:
            self._open[-1].text += text

    def end(self, name: str) -> None:
        self._open.pop()

    def close(self) -> Node:
        if self._root is None:  # expat refuses such a document before
            raise untrusted("it is empty")
        return self._root


def _split(name: str) -> Tuple[str, str, str]:
    """(namespace, name, prefix) of a name as expat reports it."""
    parts = name.split(_SEPARATOR)
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""


# --- writing --------------------------------------------------------------------------------------


def _to_xml(node: Node) -> str:
    name = f"{node.prefix}:{node.name}" if node.prefix else node.name
    attributes = "".join(f' {key}="{_quoted(value)}"' for key, value in node.attributes.items())
    inside = _escaped(node.text) + "".join(
        _to_xml(child) + _escaped(child.tail) for child in node.children
    )
    return f"<{name}{attributes}>{inside}</{name}>"


def _escaped(text: str) -> str:
    return (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")
    )


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', "&quot;").replace("\t", "&#x9;").replace("\n", "&#xA;")


def _without(node: Node, signature: Node) -> ElementTree.Element:
    """The element and all below it but the signature, without namespaces and their declarations."""
    attributes = {
        key.rpartition(":")[2]: value
        for key, value in node.attributes.items()
        if not re.match("xmlns(:|$)", key)
    }
    element = ElementTree.Element(node.name, attributes)
    element.text = node.text
    for child in node.children:
        if child is not signature:
            below = _without(child, signature)
            below.tail = child.tail
            element.append(below)
    return element
