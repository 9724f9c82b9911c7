"""Certificates for tests: an authority of their own, servers, clients and proxies, of any age."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
PEM, NO_PASSWORD = serialization.Encoding.PEM, serialization.NoEncryption()


class Authority:
    """``ca`` is the path of its certificate; the others are made as they are asked for."""

    def __init__(self, directory, name="test authority"):
        self.directory, self.name = directory, name
        self._key, self._certificate = _make(name, authority=True)
        self.ca = self._write("ca", _pem(self._certificate))

    def issue(self, name, days=1, since=-1, names=("127.0.0.1", "localhost"), password=b"", under=None):
        """The path of a PEM file: certificate, key, and for a proxy ``under`` another file, that file's certificate."""
        key, certificate = _make(name, self._key, self._certificate, days, since, names)
        hidden = serialization.BestAvailableEncryption(password) if password else NO_PASSWORD
        secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden)
        chain = under.read_bytes().partition(b"-----BEGIN PRIVATE")[0] if under else b""
        return self._write(name, _pem(certificate) + secret + chain)

    def revoke(self, *paths):
        """The path of a list of these certificates."""
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject).last_update(now - DAY)
        for path in paths:
            serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build())
        return self._write("revoked", builder.next_update(now + DAY).sign(self._key, hashes.SHA256()).public_bytes(PEM))

    def _write(self, name, content):
        path = self.directory / f"{name}.pem"
        path.write_bytes(content)
        return path


def _make(name, issuer_key=None, issuer=None, days=1, since=-1, names=(), authority=False):
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now + min(since, days - 1) * DAY).not_valid_after(now + days * DAY)
               .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
    return key, builder.sign(issuer_key or key, hashes.SHA256())


def _name(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(certificate):
    return certificate.public_bytes(PEM)
