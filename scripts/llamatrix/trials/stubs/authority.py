"""A certificate authority for one run: the stand-ins' real names, signed by us."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import trustme


class TlsFiles(NamedTuple):
    """Files for a server and its clients."""

    server: Path
    """The server's private key and certificate chain."""
    authority: Path
    """Our authority alone: for a sandbox that reaches nothing else."""
    authorities: Path
    """Ours and those this machine trusts: where other servers are reached too."""


def issue(names: tuple[str, ...], folder: Path) -> TlsFiles:
    """Write the files of a new authority, one certificate for all names."""
    authority = trustme.CA()
    tls_files = TlsFiles(
        folder / "server.pem", folder / "authority.pem", folder / "authorities.pem"
    )
    tls_files.server.touch(mode=0o600)
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(
        tls_files.server
    )
    ours = authority.cert_pem.bytes().decode()
    tls_files.authority.write_text(ours)
    trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
    tls_files.authorities.write_text(
        ours + "".join(ssl.DER_cert_to_PEM_cert(each) for each in trusted)
    )
    return tls_files


def trusting(bundle: Path) -> Mapping[str, str]:
    """Environment in which Python, requests, curl, uv and Node trust the bundle."""
    names = (
        *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        "NODE_EXTRA_CA_CERTS",
    )
    return dict.fromkeys(names, str(bundle))
