"""Who vouches for the C2PA signatures of this installation?

A private certificate authority: a root that signs nothing but leaves, and a leaf with
the profile that C2PA validators accept. It proves "signed by this installation" to
whoever was given the root; for the public trust list a leaf from a conforming
authority takes its place.

The leaf lives as long as the root, because without a time stamp (RFC 3161, which
needs the network) a manifest stops being valid the day its leaf expires.

Source of the profile: C2PA 2.2 section 14.5; which extended key usages c2pa-rs 0.91
accepts was found by trying them.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEFAULT_ORGANIZATION: Final = "safegen private authority"
ROOT_YEARS: Final = 20
LEAF_YEARS: Final = 19
_CLAIM_SIGNING: Final = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
_CLOCK_SKEW: Final = timedelta(hours=1)
_MAX_NAME: Final = 64
"""Upper bound of X.520 for names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A private key and the certificates that speak for it.

    Attributes:
        private_key_pem: PKCS 8, unencrypted.
        chain_pem: Its own certificate first.
    """

    private_key_pem: str = field(repr=False)
    chain_pem: str


def new_root(organization: str, *, at: datetime) -> Identity:
    """Make a self-signed root.

    Raises:
        ValueError: If the name is empty or longer than 64 characters.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject(organization, "safegen root")
    public = key.public_key()
    certificate = (
        _builder(name, name, public, at=at, years=ROOT_YEARS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(private_key_pem=_pem(key), chain_pem=_text(certificate))


def new_leaf(root: Identity, organization: str, *, at: datetime) -> Identity:
    """Make a certificate that may sign manifests and nothing else.

    It never outlives its root.
    """
    root_certificate = x509.load_pem_x509_certificate(root.chain_pem.encode())
    root_key = _load_key(root.private_key_pem)
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    issuer = root_certificate.subject
    usages = [ExtendedKeyUsageOID.EMAIL_PROTECTION, _CLAIM_SIGNING]
    root_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    latest = root_certificate.not_valid_after_utc
    certificate = (
        _builder(
            _subject(organization, "safegen"),
            issuer,
            public,
            at=at,
            years=LEAF_YEARS,
            latest=latest,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(root_identifier, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    chain = _text(certificate) + _text(root_certificate)
    return Identity(private_key_pem=_pem(key), chain_pem=chain)


def organization(chain_pem: str) -> str:
    """Read the organization a certificate names."""
    certificate = x509.load_pem_x509_certificate(chain_pem.encode())
    names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(names[0].value) if names else ""


def fingerprint(chain_pem: str) -> str:
    """Hash the first certificate of a chain: SHA-256 of its DER, lower-case hex."""
    certificate = x509.load_pem_x509_certificate(chain_pem.encode())
    return certificate.fingerprint(hashes.SHA256()).hex()


def expires_at(chain_pem: str) -> datetime:
    """Say when the first certificate of a chain expires."""
    return x509.load_pem_x509_certificate(chain_pem.encode()).not_valid_after_utc


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    *,
    at: datetime,
    years: int,
    latest: datetime | None = None,
) -> x509.CertificateBuilder:
    end = at + timedelta(days=365 * years)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _CLOCK_SKEW)
        .not_valid_after(end if latest is None else min(end, latest))
    )


def _subject(organization_name: str, common_name: str) -> x509.Name:
    if not 0 < len(organization_name) <= _MAX_NAME:
        msg = (
            f"an organization's name has 1 to {_MAX_NAME} characters, not {len(organization_name)}"
        )
        raise ValueError(msg)
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization_name),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        msg = f"the root's key must be an elliptic-curve key, not {type(key).__name__}"
        raise TypeError(msg)
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return data.decode("ascii")


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
