"""An XML document with its own signature in it, as one tree: what is verified is written from this tree, and what is read is it.

Whatever two readers of XML could take in different ways ends here: encodings other than UTF-8, document types, entities,
comments, CDATA and processing instructions are refused or are not in the tree. So xmlsec1, which verifies what ``Document.bare``
writes, sees exactly the elements, attributes and texts that the suite goes on to read.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple
from xml.etree import ElementTree

from vmprobe.core.errors import CloudError, GatewayFailed
from vmprobe.core.text import cut
from vmprobe.transport import xml

KEY = "vmprobe"  # what the one key is called for xmlsec1
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_ENC = "http://www.w3.org/2001/04/xmlenc#"
_ENVELOPED = _DSIG + "enveloped-signature"
_CANONICAL = re.compile(
    r"http://www\.w3\.org/(TR/2001/REC-xml-c14n-20010315|2006/12/xml-c14n11|2001/10/xml-exc-c14n#)"
    r"(#?WithComments)?"
)
_SIGNATURES = {  # by a public key; others, such as those by a shared secret, are refused
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
_APART = "\f"  # which no XML may have anywhere in it, so that no name or namespace can


class Node:
    """An element: its namespace, name and prefix; attributes and declarations of namespaces as they were written."""

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
    """``root``: the tree, its signature included. ``hashes``: by what the signature and its digest are made."""

    root: Node
    signature: Node
    certificates: Tuple[bytes, ...]  # PEM, the signer's own first
    hashes: Tuple[str, ...]

    def bare(self) -> bytes:
        """The document for xmlsec1: nothing in it speaks of keys but the name KEY of the one that it is given."""
        kept = [child for child in self.signature.children if child.name != "KeyInfo"]
        key = Node(_DSIG, "KeyInfo", self.signature.prefix)
        key.children = [Node(_DSIG, "KeyName", self.signature.prefix, text=KEY)]
        before, self.signature.children = self.signature.children, [*kept, key]
        try:
            return _written(self.root).encode("utf-8")
        finally:
            self.signature.children = before

    def content(self) -> ElementTree.Element:
        """What is signed, which is everything but the signature itself, names without their namespaces."""
        return _content(self.root, self.signature)


def read(document: bytes) -> Document:
    """The tree of a document with one signature, which is over all of it; CloudError (cause image) for anything else."""
    root = _parsed(document)
    found = [node for node in root.walk() if node.space == _DSIG and node.name == "Signature"]
    if len(found) != 1:
        raise bad(f"it has {len(found) or 'no'} signatures, and not one of the whole")
    signature = found[0]
    if not any(child is signature for child in root.children):
        raise bad("its signature is not of the whole")
    return Document(root, signature, tuple(_certificates(signature)), _hashes(signature))


def bad(why: str) -> CloudError:
    """The error of a document that is not to be trusted."""
    return CloudError(why, cause="image")


def _hashes(signature: Node) -> Tuple[str, ...]:
    """By what it is signed and digested, once it is sure that it is the whole document that is."""
    info, *_ = _children(signature, ("SignedInfo", "SignatureValue"), ("KeyInfo",))
    canonical, method, reference = _children(
        info, ("CanonicalizationMethod", "SignatureMethod", "Reference")
    )
    transforms, digest, _ = _children(reference, ("Transforms", "DigestMethod", "DigestValue"))
    words = [
        one.attributes.get("Algorithm", "")
        for one in _children(transforms, ("Transform",), ("Transform",))
    ]
    words = [canonical.attributes.get("Algorithm", ""), *words]
    if (
        reference.attributes.get("URI") != ""
        or words.pop(1) != _ENVELOPED
        or not all(map(_CANONICAL.fullmatch, words))
    ):
        raise bad("its signature is not of the whole document")
    return _known(_SIGNATURES, method), _known(_DIGESTS, digest)


def _children(node: Node, wanted: Tuple[str, ...], optional: Tuple[str, ...] = ()) -> List[Node]:
    """The children of a part of the signature, which have to be exactly these, in this order, and perhaps the optional ones."""
    names = tuple(
        child.name if child.space == _DSIG else f"{child.space} {child.name}"
        for child in node.children
    )
    if names not in (wanted, wanted + optional):
        raise bad(
            f"its signature is not of the whole document: {node.name} has {cut(', '.join(names), 100) or 'nothing'} in it"
        )
    return node.children


def _known(algorithms: Dict[str, str], method: Node) -> str:
    word = method.attributes.get("Algorithm", "")
    if word not in algorithms:
        raise bad(f"it is signed by {cut(word, 80) or 'nothing'}, which does not count here")
    return algorithms[word]


def _certificates(signature: Node) -> List[bytes]:
    """The certificates beside a signature, as PEM, the signer's own first."""
    below = [node for info in signature.children if info.name == "KeyInfo" for node in info.walk()]
    data = [node.text for node in below if node.space == _DSIG and node.name == "X509Certificate"]
    found = []
    for text in data[:_MOST_CERTIFICATES]:
        try:
            raw = base64.b64decode(re.sub(r"\s", "", text), validate=True)
        except (binascii.Error, ValueError):
            raise bad("a certificate in its signature cannot be read") from None
        found.append(
            b"-----BEGIN CERTIFICATE-----\n"
            + base64.encodebytes(raw)
            + b"-----END CERTIFICATE-----\n"
        )
    if not found:
        raise bad("its signature names no certificate, so nobody can be trusted for it")
    return found


# --- reading ----------------------------------------------------------------------------------------------------------


def _parsed(document: bytes) -> Node:
    from xml.parsers import expat

    try:
        document.decode("utf-8")
    except UnicodeDecodeError:
        raise bad("it is not in UTF-8") from None
    parser = expat.ParserCreate("utf-8", _APART)
    parser.namespace_prefixes = True
    builder = _Builder()
    parser.XmlDeclHandler, parser.StartNamespaceDeclHandler = _declared, builder.declare
    try:
        return xml.parse_into(document, builder, parser=parser, rename=str)
    except GatewayFailed as wrong:
        raise bad(str(wrong)) from None


def _declared(version: str, encoding: Optional[str], standalone: int) -> None:
    if encoding is not None and encoding.upper() not in ("UTF-8", "UTF8", "US-ASCII"):
        raise bad(f"it is not in UTF-8, but says that it is in {cut(encoding, 40)}")


class _Builder:
    """Makes the tree of what an expat parser finds."""

    def __init__(self) -> None:
        self._open: List[Node] = []
        self._root: Optional[Node] = None
        self._declared: Dict[str, str] = {}

    def declare(self, prefix: Optional[str], space: Optional[str]) -> None:
        self._declared[f"xmlns:{prefix}" if prefix else "xmlns"] = space or ""

    def start(self, name: str, attributes: Dict[str, str]) -> None:
        space, local, prefix = _name(name)
        written = dict(self._declared)
        for key, value in attributes.items():
            _, own, of = _name(key)
            written[f"{of}:{own}" if of else own] = value
        node = Node(space, local, prefix, written)
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
        if self._root is None:  # which no parser lets happen
            raise bad("it is empty")
        return self._root


def _name(word: str) -> Tuple[str, str, str]:
    """(namespace, name, prefix) of a name as expat writes it."""
    parts = word.split(_APART)
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""


# --- writing ----------------------------------------------------------------------------------------------------------


def _written(node: Node) -> str:
    name = f"{node.prefix}:{node.name}" if node.prefix else node.name
    attributes = "".join(f' {key}="{_quoted(value)}"' for key, value in node.attributes.items())
    inside = _escaped(node.text) + "".join(
        _written(child) + _escaped(child.tail) for child in node.children
    )
    return f"<{name}{attributes}>{inside}</{name}>"


def _escaped(text: str) -> str:
    return (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")
    )


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', "&quot;").replace("\t", "&#x9;").replace("\n", "&#xA;")


def _content(node: Node, signature: Any) -> ElementTree.Element:
    found = ElementTree.Element(
        node.name,
        {
            key.rpartition(":")[2]: value
            for key, value in node.attributes.items()
            if not re.match("xmlns(:|$)", key)
        },
    )
    found.text = node.text
    for child in node.children:
        if child is not signature:
            below = _content(child, signature)
            below.tail = child.tail
            found.append(below)
    return found
