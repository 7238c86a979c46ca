"""TLS for addresses other than this machine's own: the user's certificate, or one made on demand and kept.

The made one names this machine and its addresses, is signed by itself, lasts ten years, and lies beside its key in the
settings folder, the key its owner's only. Clients compare its fingerprint, which is shown at the start.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import socket
import ssl
from pathlib import Path

from rtvc.config import ConfigError, config_folder, write_atomically

_YEARS_10 = datetime.timedelta(days=3650)


def certificate_paths() -> tuple[Path, Path]:
    """Return where the made certificate and its key are; they need not exist."""
    folder = config_folder() / "control"
    return folder / "certificate.pem", folder / "key.pem"


def server_context(certificate: Path | None, key: Path | None) -> tuple[ssl.SSLContext, str]:
    """Return a TLS 1.2+ context and its certificate's SHA-256 fingerprint; with neither file, those made on demand.

    Raises ConfigError if a file cannot be used or a certificate cannot be made.
    """
    if (certificate is None) != (key is None):
        raise ConfigError("control.certificate and control.key belong together; give both or neither")
    if certificate is None or key is None:
        certificate, key = certificate_paths()
        if not (certificate.exists() and key.exists()):
            make_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text("ascii"))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"{certificate} and {key}: cannot be used for TLS: {error}") from None
    return context, hashlib.sha256(der).hexdigest()


def make_certificate(certificate: Path, key: Path) -> None:
    """Make a key and a certificate signed by it. Raises ConfigError without the package `cryptography`."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        what = "making a certificate needs the package cryptography"
        raise ConfigError(f"{what}: pip install 'rtvc[remote]', or give control.certificate and control.key") from None
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rtvc")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in ("localhost", *_own_names())]
    names += [x509.IPAddress(address) for address in _own_addresses()]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _YEARS_10)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(key, pem, private=True)
    write_atomically(certificate, made.public_bytes(serialization.Encoding.PEM), private=True)


def _own_names() -> list[str]:
    host = socket.gethostname()
    return [name for name in (host, f"{host}.local") if name.isascii() and name != "localhost"]


def _own_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    try:
        entries = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        entries = []
    for *_, address in entries:
        found.add(ipaddress.ip_address(str(address[0]).partition("%")[0]))
    return sorted(found, key=str)
