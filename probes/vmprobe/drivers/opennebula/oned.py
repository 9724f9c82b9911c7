"""Procedures of oned, OpenNebula's daemon: the session that each of them carries, and its refusals as this suite's errors.

Of the source, which is the only definition there is: ``src/rm/Request.cc`` (the answer is done, result or text, code),
``src/authm_mad/remotes/*/*_auth.rb`` (the tokens). One account serves all ways to be known, by what it is given:

    username, password                        core, ldap, ssh, ...; a login token (``oneuser login``) is a password too
    one_auth                                  the file that oneuser and the other commands read: user:password
    username, certificate, key                the x509 driver; a proxy certificate with its chain as well
    server_user, server_password, username    the server_cipher driver: a service acts for ``username``
    server_user, certificate, key, username   the server_x509 driver
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, List, Mapping
from urllib.parse import urlsplit

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    QuotaExceeded,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.host import files
from vmprobe.transport import x509, xml
from vmprobe.transport.http import Http
from vmprobe.transport.xmlrpc import XmlRpc

CREDENTIALS = (
    "username",
    "password",
    "login_token",
    "one_auth",
    "certificate",
    "key",
    "server_user",
    "server_password",
)
(
    AUTHENTICATION,
    AUTHORIZATION,
    NO_EXISTS,
    ACTION,
    XML_RPC_API,
    INTERNAL,
    ALLOCATE,
    LOCKED,
    REPLICATION,
) = (0x100 << bit for bit in range(9))  # ErrorCode in Request.h

_LARGEST = 2**20  # bytes of a file with a secret
_LASTS = 3600.0  # seconds that a token of ours is good for
_SECRETIVE = {
    "one.user.info",
    "one.group.info",
    "one.system.config",
}  # their answers have hashes, tokens, passwords
_NOT_NOW = re.compile(
    r"wrong state|image locked|has to be running|in use|VMs using it|is locked|active clone", re.I
)
_CAUSES = (
    (r"own an image", "image"),
    (r"lease|network|\bnic\b", "network"),
    (r"datastore|\bdisk|\bspace\b", "storage"),
    (r"image", "image"),
    (r"cluster|host", "scheduler"),
)
_QUOTA = re.compile(r"\bquota\b|\blimit of\b")
_CREATES = re.compile(
    r"^\[(one\.\w+\.(allocate|instantiate|disksaveas)|\w*(Allocate|Instantiate|DiskSaveAs))\]", re.I
)
_NOT_ITSELF = re.compile(
    r"Cannot process request|timed out|could ?n[o']t connect|connection|HTTP|database|\bDB\b", re.I
)


class Oned:
    """One oned as one user. Nothing is sent before ``connect``."""

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        self.credentials, self.deadline, self.evidence = credentials, deadline, evidence
        self.http = self.wire(endpoint)
        self.version = ""
        self._rpc, self._session = XmlRpc(self.http), ""

    def wire(self, endpoint: Mapping[str, Any]) -> Http:
        """What the procedures are asked through."""
        url = endpoint["url"]
        return Http(
            url if urlsplit(url).path else f"{url}/RPC2",
            self.deadline,
            self.evidence,
            timeout=endpoint["timeout"],
            ca=endpoint["ca"],
        )

    def connect(self) -> None:
        """Find the session that is accepted, by asking for the version; AuthRejected, or ClientError by our own fault."""
        sessions = self.sessions()
        for number, session in enumerate(sessions, 1):
            self._session = session
            self._keep_secret(session)
            try:
                self.version = self._asked_version()
                return
            except AuthRejected:
                self._session = ""
                if number == len(sessions):
                    raise

    def _keep_secret(self, session: str) -> None:
        """What is behind the user is shown nowhere; of a service's, which names two users, neither is the token alone."""
        known, secret = self.evidence.redactor, session.partition(":")[2]
        known.add(secret)
        if self.credentials.get("server_user"):
            known.add(secret.partition(":")[2])

    def _asked_version(self) -> str:
        """Any answer but a rejection accepts the session; before 3.6 there was no such procedure, and another one tells."""
        try:
            return str(self.call("one.system.version"))
        except AuthRejected:
            raise
        except CloudError as wrong:
            if not re.search(r"not defined|no such method|fault -506", str(wrong), re.I):
                raise
        self.call("one.vmpool.info", -3, -1, -1, -1)
        return "before 3.6"

    def sessions(self) -> List[str]:
        """The sessions that may be meant, the likeliest first: user, and what proves it."""
        given = self.credentials
        user, lasts = given.get("username", ""), int(self.deadline.clock.utc() + _LASTS)
        if given.get("server_user") and not user:
            raise ClientError("no username among the credentials for whom server_user acts")
        if given.get("server_user") and given.get("server_password"):
            text = f"{given['server_user']}:{user}:{lasts}"
            tokens = [_encrypted(text, *way) for way in _cipher_keys(given["server_password"])]
            return [f"{given['server_user']}:{user}:{token}" for token in tokens]
        if given.get("server_user") and given.get("certificate"):
            proof = _signed(f"{given['server_user']}:{user}:{lasts}", *self._pem())
            return [f"{given['server_user']}:{user}:{_base64(proof.encode())}"]
        if user and given.get("certificate"):
            begin, end = x509.validity(given["certificate"])
            x509.check(given["certificate"], self.deadline.clock.utc())
            text, certificate = self._pem()
            proof = _signed(f"{user}:{min(lasts, int(end))}", text, certificate)
            return [f"{user}:{_base64(':'.join([proof, *_certificates(certificate)]).encode())}"]
        if user and (given.get("login_token") or given.get("password")):
            return [f"{user}:{given.get('login_token') or given['password']}"]
        if given.get("one_auth"):
            return [_one_auth(given["one_auth"])]
        raise ClientError(
            "no password, login_token, certificate or one_auth among the credentials"
            if user
            else "no username or one_auth among the credentials"
        )

    def call(self, procedure: str, *words: Any) -> Any:
        """The procedure's result: a number or a text. Every refusal is the error that its code and words mean."""
        if not self._session:
            raise AuthRejected("there is no session")
        said = self._rpc.call(
            procedure, self._session, *words, redact_reply=procedure in _SECRETIVE
        )
        if not isinstance(said, list) or len(said) < 2 or type(said[0]) is not bool:
            raise GatewayFailed(
                f"{procedure}: the answer is not what oned answers: done, result, code"
            )
        if said[0]:
            return said[1]
        raise refusal(
            said[2] if len(said) > 2 and type(said[2]) is int else 0, f"{said[1]}".strip()
        )

    def number(self, procedure: str, *words: Any) -> str:
        """The id in the answer, of what was made."""
        made = self.call(procedure, *words)
        if type(made) is not int or made < 0:
            raise GatewayFailed(f"{procedure}: the answer has no id of what was made")
        return str(made)

    def xml(self, procedure: str, *words: Any) -> Any:
        """The root of the XML document that the answer is."""
        said = self.call(procedure, *words)
        try:
            return xml.parse(f"{said}".encode())
        except GatewayFailed as wrong:
            raise GatewayFailed(f"{procedure}: {wrong}") from None

    def since(self, *version: int) -> bool:
        """Whether this oned is at least of that version; one that says no number is not."""
        parts = re.match(r"(\d{1,4})\.(\d{1,4})", self.version)
        return parts is not None and (int(parts[1]), int(parts[2])) >= version

    def close(self) -> None:
        """Let go of the connections."""
        self.http.close()

    def _pem(self) -> Any:
        """The texts of key and certificate; a proxy has both in one file."""
        certificate = self.credentials["certificate"]
        return [_read(self.credentials.get("key") or certificate), _read(certificate)]


def refusal(code: int, words: str) -> CloudError:
    """What a refusal means. The words have the procedure in them: ``[one.vm.allocate] User [2] : limit of 1 reached ...``."""
    words = re.sub(r"\s+", " ", words) or f"error {code} without a word"
    if code == AUTHENTICATION:
        return AuthRejected(words)
    if code == NO_EXISTS:
        return NotFound(words)
    if code in (AUTHORIZATION, INTERNAL, ACTION, ALLOCATE) and _QUOTA.search(words):
        return QuotaExceeded(words)
    if code in (AUTHORIZATION, LOCKED):
        return NotPermitted(words)
    if code in (ACTION, INTERNAL) and _NOT_NOW.search(words):
        return Conflict(words)
    if code == REPLICATION or code == INTERNAL and not _refused_to_create(words):
        return GatewayFailed(words)
    if code == XML_RPC_API:
        return CloudError(words, cause="gateway")
    said = words.partition("]")[2]
    return CloudError(
        words, next((cause for pattern, cause in _CAUSES if re.search(pattern, said, re.I)), "")
    )


def _refused_to_create(words: str) -> bool:
    """Whether INTERNAL is the code of a create that oned looked at and refused: for leases, clusters, names it has no other.

    Then nothing was made. What a follower could not hand on to its leader (an election, no answer) may have been made.
    """
    return bool(_CREATES.search(words)) and not _NOT_ITSELF.search(words)


# --- tokens -------------------------------------------------------------------------------------------------------


def _one_auth(path: str) -> str:
    session = _read(path).strip().splitlines()[:1]
    if not session or not re.match(r"[^:\s]+:.", session[0]):
        raise ClientError(f"one_auth {path}: is not user:password")
    return session[0]


def _read(path: str) -> str:
    """The text of a file that has a secret in it, or a certificate."""
    try:
        return files.read_secret(
            path,
            _LARGEST,
            lambda held: b"-----BEGIN CERTIFICATE-----" not in held or b"PRIVATE KEY-----" in held,
        ).decode("utf-8")
    except OSError as failed:
        raise ClientError(f"{path}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"{path}: is no text") from None


def _certificates(text: str) -> List[str]:
    return [
        f"{block}\n"
        for block in re.findall(
            r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.S
        )
    ]


def _signed(text: str, key: str, certificate: str) -> str:
    """OpenSSL's ``private_encrypt``: the text itself, padded by PKCS #1 (RFC 8017, 9.2, without a digest), as base64."""
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as missing:
        raise ClientError(f"a token by X.509 needs cryptography: {missing}") from None
    block = re.search(
        r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", key, re.S
    )
    try:
        numbers = load_pem_private_key((block[0] if block else "").encode(), None).private_numbers()
        modulus = numbers.public_numbers.n
    except (ValueError, TypeError, AttributeError):
        raise ClientError(
            "the key among the credentials is no RSA key without a passphrase"
        ) from None
    size, plain = (modulus.bit_length() + 7) // 8, text.encode()
    if len(plain) > size - 11:
        raise ClientError(
            f"the key among the credentials is too short for a token of {len(plain)} bytes"
        )
    padded = b"\x00\x01" + b"\xff" * (size - 3 - len(plain)) + b"\x00" + plain
    return _base64(pow(int.from_bytes(padded, "big"), numbers.d, modulus).to_bytes(size, "big"))


def _cipher_keys(password: str) -> List[tuple]:
    """Keys and initial vectors, as 6.x derives them, 5.10 to 5.12, and older ones: only a rejection tells which it is."""
    new, old = (
        hashlib.new(name, password.encode()).hexdigest()[:32].encode()
        for name in ("sha256", "sha1")
    )
    return [(new, new[:16]), (new, bytes(16)), (old, bytes(16))]


def _encrypted(text: str, key: bytes, vector: bytes) -> str:
    """AES-256-CBC, padded by PKCS #7, as base64."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as missing:
        raise ClientError(f"a token by server_cipher needs cryptography: {missing}") from None
    cipher, plain = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor(), text.encode()
    gap = 16 - len(plain) % 16
    return _base64(cipher.update(plain + bytes([gap]) * gap) + cipher.finalize())


def _base64(proof: bytes) -> str:
    return base64.b64encode(proof).decode("ascii")
