"""Sessions of oned: "user:proof", where the proof is a password or a token.

The tokens follow OpenNebula's source, ``src/authm_mad/remotes/*/*_auth.rb``. The credentials that
are given decide the driver:

    username, password                      core, ldap, ssh, ...; a login token is a password too
    one_auth                                the file that oneuser reads: user:password
    username, certificate, key              x509; a proxy certificate with its chain as well
    server_user, server_password, username  server_cipher: a service acts for ``username``
    server_user, certificate, key, username server_x509
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import List, Mapping, Tuple

from vmprobe.core.errors import ClientError
from vmprobe.host import files
from vmprobe.transport import x509

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
_LIFETIME = 3600.0  # seconds that a token made here is valid
_LARGEST = 2**20  # bytes of a file with a secret


def sessions(credentials: Mapping[str, str], now: float) -> List[str]:
    """The sessions that these credentials may mean, the likeliest first.

    ``now`` in seconds since the epoch. ClientError if a credential is missing, unreadable or
    expired.
    """
    user, ends = credentials.get("username", ""), int(now + _LIFETIME)
    server_user = credentials.get("server_user")
    if server_user and not user:
        raise ClientError("no username among the credentials for whom server_user acts")
    if server_user and credentials.get("server_password"):
        plain = f"{server_user}:{user}:{ends}"
        keys = _cipher_keys(credentials["server_password"])
        return [f"{server_user}:{user}:{_encrypt(plain, key, vector)}" for key, vector in keys]
    if server_user and credentials.get("certificate"):
        key, _ = _key_and_certificate(credentials)
        proof = _sign(f"{server_user}:{user}:{ends}", key)
        return [f"{server_user}:{user}:{_base64(proof.encode())}"]
    if user and credentials.get("certificate"):
        return [_x509_session(credentials, user, ends, now)]
    if user and (credentials.get("login_token") or credentials.get("password")):
        return [f"{user}:{credentials.get('login_token') or credentials['password']}"]
    if credentials.get("one_auth"):
        return [_one_auth(credentials["one_auth"])]
    raise ClientError(
        "no password, login_token, certificate or one_auth among the credentials"
        if user
        else "no username or one_auth among the credentials"
    )


def _x509_session(credentials: Mapping[str, str], user: str, ends: int, now: float) -> str:
    """The session of the x509 driver. The token ends no later than the certificate."""
    _, certificate_ends = x509.validity(credentials["certificate"])
    x509.check(credentials["certificate"], now)
    key, certificate = _key_and_certificate(credentials)
    proof = _sign(f"{user}:{min(ends, int(certificate_ends))}", key)
    return f"{user}:{_base64(':'.join([proof, *_certificates(certificate)]).encode())}"


def _one_auth(path: str) -> str:
    lines = _read(path).strip().splitlines()
    if not lines or not re.match(r"[^:\s]+:.", lines[0]):
        raise ClientError(f"one_auth {path}: is not user:password")
    return lines[0]


def _key_and_certificate(credentials: Mapping[str, str]) -> Tuple[str, str]:
    """The texts of both files; a proxy has both in one."""
    certificate = credentials["certificate"]
    return _read(credentials.get("key") or certificate), _read(certificate)


def _read(path: str) -> str:
    """The text of a file with a secret, or of a certificate.

    Only a certificate without its key may be readable by others.
    """
    try:
        content = files.read_secret(path, _LARGEST, _holds_secret)
        return content.decode("utf-8")
    except OSError as failed:
        raise ClientError(f"{path}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"{path}: is not text") from None


def _holds_secret(content: bytes) -> bool:
    return b"-----BEGIN CERTIFICATE-----" not in content or b"PRIVATE KEY-----" in content


def _certificates(pem: str) -> List[str]:
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", pem, re.S)
    return [f"{block}\n" for block in blocks]


def _sign(plain: str, key: str) -> str:
    """The text, signed as by OpenSSL's ``private_encrypt``, in base64.

    The text itself, not its digest, is padded by PKCS #1 (RFC 8017, 9.2).
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as missing:
        raise ClientError(f"a token by X.509 needs cryptography: {missing}") from None
    block = re.search(
        r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", key, re.S
    )
    try:
        private = load_pem_private_key((block[0] if block else "").encode(), None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, RSAPrivateKey):
        raise ClientError("the key among the credentials is not an RSA key without a passphrase")
    numbers = private.private_numbers()
    modulus = numbers.public_numbers.n
    size, message = (modulus.bit_length() + 7) // 8, plain.encode()
    if len(message) > size - 11:
        raise ClientError(
            f"the key among the credentials is too short for a token of {len(message)} bytes"
        )
    padded = b"\x00\x01" + b"\xff" * (size - 3 - len(message)) + b"\x00" + message
    return _base64(pow(int.from_bytes(padded, "big"), numbers.d, modulus).to_bytes(size, "big"))


def _cipher_keys(password: str) -> List[Tuple[bytes, bytes]]:
    """Keys and initial vectors as derived by 6.x, by 5.10 to 5.12, and by older ones.

    Only a rejection tells which of them this oned uses.
    """
    new, old = (
        hashlib.new(name, password.encode()).hexdigest()[:32].encode()
        for name in ("sha256", "sha1")
    )
    return [(new, new[:16]), (new, bytes(16)), (old, bytes(16))]


def _encrypt(plain: str, key: bytes, vector: bytes) -> str:
    """AES-256-CBC, padded by PKCS #7, as base64."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as missing:
        raise ClientError(f"a token by server_cipher needs cryptography: {missing}") from None
    cipher, message = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor(), plain.encode()
    gap = 16 - len(message) % 16
    return _base64(cipher.update(message + bytes([gap]) * gap) + cipher.finalize())


def _base64(proof: bytes) -> str:
    return base64.b64encode(proof).decode("ascii")
