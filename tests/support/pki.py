# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities and certificates for tests, good and bad ones alike."""

import dataclasses
import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = datetime.timedelta(hours=1)
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


def now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None, microsecond=0)


def subject(common_name):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Mintmark tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


@dataclasses.dataclass
class Credential:
    """A certificate and its key as PEM files."""

    certificate_file: pathlib.Path
    key_file: pathlib.Path
    certificate: x509.Certificate

    @property
    def fingerprint(self):
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def not_after(self):
        return int(self.certificate.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp())


class Authority:
    """A CA that lives in `folder`; issues whatever it is asked for."""

    def __init__(self, folder, name, issuer=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._certify(issuer or self)
        self.file = self.folder / f"{name}-ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.file.chmod(0o644)
        self.n_issued = 0

    def intermediate(self, name):
        """A CA below this one."""
        return Authority(self.folder, name, self)

    def _certify(self, issuer):
        builder = self._builder(subject(f"{self.name} CA"), self.key.public_key(), now() - 24 * HOUR, now() + 240 * HOUR)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        return (
            builder.issuer_name(subject(f"{issuer.name} CA"))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(issuer.key, hashes.SHA256())
        )

    @staticmethod
    def _builder(name, public_key, not_before, not_after):
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
        )

    def issue(self, common_name, uris=(), dns=(), addresses=(), usages=(CLIENT,), not_before=None, not_after=None, key=None):
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(
            subject(common_name), key.public_key(), not_before or now() - HOUR, not_after or now() + 24 * HOUR
        ).issuer_name(self.certificate.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        names = [x509.UniformResourceIdentifier(uri) for uri in uris] + [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return self._write(common_name, key, builder.sign(self.key, hashes.SHA256()))

    def crl(self, *revoked, next_update=None, this_update=None):
        """PEM of a CRL that names these credentials, in force for two days unless said otherwise."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(this_update or now() - HOUR)
            .next_update(next_update or now() + 48 * HOUR)
        )
        for credential in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(credential.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now() - HOUR).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, common_name, key, certificate):
        self.n_issued += 1
        stem = f"{self.name}-{self.n_issued}-{common_name.replace(' ', '-')}"
        certificate_file, key_file = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        certificate_file.chmod(0o644)
        key_file.chmod(0o600)
        return Credential(certificate_file, key_file, certificate)
