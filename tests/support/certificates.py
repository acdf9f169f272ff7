"""Certificates for tests: an authority of one's own and server certificates signed by it, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_DAYS = "2"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """PEM files: a certificate and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority, its files in `directory`."""

    directory: Path
    root: Certificate

    def certify(self, *names: str) -> Certificate:
        """A certificate for servers and clients, for `names`: DNS names and IPv4 addresses."""
        made = _in(self.directory, names[0])
        request = self.directory / f"{names[0]}.csr"
        kinds = [f"{'IP' if name.replace('.', '').isdigit() else 'DNS'}:{name}" for name in names]
        extensions = self.directory / f"{names[0]}.ext"
        extensions.write_text(f"subjectAltName={','.join(kinds)}\nextendedKeyUsage=serverAuth,clientAuth\n")
        _openssl("req", *_CURVE, "-keyout", made.key, "-out", request, "-subj", f"/CN={names[0]}")
        signer = ("-CA", self.root.certificate, "-CAkey", self.root.key, "-CAcreateserial")
        _openssl(
            "x509", "-req", "-in", request, *signer, "-days", _DAYS, "-extfile", extensions, "-out", made.certificate
        )
        return made


def new_authority(directory: Path, name: str) -> Authority:
    """Make a root certificate called `name` in `directory`."""
    root = _in(directory, "ca")
    subject = ("-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")
    _openssl("req", "-x509", *_CURVE, "-days", _DAYS, *subject, "-keyout", root.key, "-out", root.certificate)
    return Authority(directory, root)


def _in(directory: Path, name: str) -> Certificate:
    return Certificate(directory / f"{name}.crt", directory / f"{name}.key")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
