"""Certificates for tests: an authority, and its servers, clients and proxies, of any age."""

import datetime
import ipaddress
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from private import written

DAY = datetime.timedelta(days=1)
PEM, NO_PASSWORD = serialization.Encoding.PEM, serialization.NoEncryption()
PROXY_INFO = (
    x509.UnrecognizedExtension(  # RFC 3820, 3.8: of any length, with all rights of its issuer
        x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"), bytes.fromhex("300c300a06082b06010505071501")
    )
)


def elliptic():
    return ec.generate_private_key(ec.SECP256R1())


def of_rsa():
    """A key that the grid's own tools can read."""
    return rsa.generate_private_key(65537, 2048)


class Authority:
    """A certificate authority; ``ca`` is the path of its certificate."""

    def __init__(self, directory, name="test authority", days=1, new_key=elliptic):
        self.directory, self.name, self._new_key = directory, name, new_key
        self._key = new_key()
        self._certificate = _make(name, self._key, days=days, authority=True)
        self.ca = self._write("ca", _pem(self._certificate))

    def issue(
        self, name, days=1, since=-1, names=("127.0.0.1", "localhost"), password=b"", under=None
    ):
        """The path of a PEM file with certificate and key, and the chain in the file ``under``."""
        key = self._new_key()
        made = _make(name, key, self._key, self._certificate, days, since, names)
        return self._write(
            name, _pem(made) + _secret(key, password) + (_chain(under) if under else b"")
        )

    def proxy(self, of, days=1):
        """The path of a proxy (RFC 3820) of the certificate in the file ``of``, signed by its key."""
        pem, key = of.read_bytes(), self._new_key()
        user, signer = (
            x509.load_pem_x509_certificate(pem),
            serialization.load_pem_private_key(pem, None),
        )
        made = _make("proxy", key, signer, user, days, proxy=True)
        return self._write(f"proxy of {of.stem}", _pem(made) + _secret(key) + _chain(of))

    def revoke(self, *paths):
        """The path of a revocation list with these certificates."""
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - DAY)
        )
        for path in paths:
            serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(serial)
                .revocation_date(now - DAY)
                .build()
            )
        return self._write(
            "revoked",
            builder.next_update(now + DAY).sign(self._key, hashes.SHA256()).public_bytes(PEM),
        )

    def _write(self, name, content):
        return written(
            self.directory / f"{name}.pem", content, 0o600 if b"PRIVATE KEY" in content else 0o644
        )


def _make(
    name,
    key,
    issuer_key=None,
    issuer=None,
    days=1,
    since=-1,
    names=(),
    authority=False,
    proxy=False,
):
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name(
        [*(issuer.subject if proxy else ()), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + min(since, days - 1) * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_name(one) for one in names]), critical=False
        )
    if proxy:
        builder = builder.add_extension(PROXY_INFO, critical=True)
    return builder.sign(issuer_key or key, hashes.SHA256())


def _name(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(certificate):
    return certificate.public_bytes(PEM)


def _secret(key, password=b""):
    hidden = serialization.BestAvailableEncryption(password) if password else NO_PASSWORD
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden)


def _chain(path):
    """The certificate in a file and those above it, without the key."""
    return b"".join(
        re.findall(
            rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", path.read_bytes(), re.S
        )
    )
