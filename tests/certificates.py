"""Certificates for servers that a test starts: an authority, and one for localhost."""

import os
import shutil
import subprocess
from pathlib import Path

EXTENSIONS = """\
subjectAltName = DNS:localhost
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def make_certificates(folder: Path) -> Path:
    """Write an authority, its certificate for localhost, and another authority into a folder."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "other"):
        usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        subject = ["-subj", f"/CN={name}", "-days", "2", *usage]
        _openssl(
            folder, "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt", *subject
        )
    _openssl(folder, "req", *key, "-keyout", "server.key", "-out", "csr", "-subj", "/CN=localhost")
    (folder / "extensions").write_text(EXTENSIONS)
    authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    extensions = ["-extfile", "extensions"]
    _openssl(folder, "x509", "-req", "-in", "csr", "-out", "server.crt", *authority, *extensions)
    (folder / "server.key").chmod(0o600)
    if os.geteuid() == 0:
        for parent in (folder, *folder.parents[:2]):
            parent.chmod(0o755)
        mapped = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "true"]
        if subprocess.run(mapped, capture_output=True).returncode:
            # The server runs as nobody, and wants its key for itself.
            shutil.chown(folder / "server.key", "nobody")
    return folder


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
