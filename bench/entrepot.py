"""Entrepot itself, the way `make serve` starts it, and two other ways: over TLS, and on PostgreSQL and S3."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from bench import wire
from bench.servers import CHECKOUT, Server
from tests.support.s3 import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket


class Entrepot(Server):
    key = "entrepot"
    name = "entrepot"
    syncs = "each blob's file, its directory, and the database's commit"
    command_name = "entrepot"
    install = "make serve (once), or pip install -e ."

    @classmethod
    def find(cls) -> Path | None:
        beside = Path(sys.executable).with_name(cls.command_name)
        return beside if beside.is_file() else None

    def command(self) -> list[str]:
        listen = f"127.0.0.1:{self.port}"
        data = str(self.directory / "data")
        return [str(self.find()), "serve", "--open", "--workers", "2", "--listen", listen, "--data-dir", data]

    def environment(self) -> Mapping[str, str]:
        return {"ENTREPOT_LOG__ACCESS": "false"}

    def is_ready(self) -> bool:
        """Whether it has said so, which it does when every worker listens; the first worker answers earlier."""
        return b"entrepot: ready" in (self.directory / "log").read_bytes() and super().is_ready()


class EntrepotTls(Entrepot):
    key = "entrepot-tls"
    name = "entrepot, TLS"
    install = "apt-get install openssl"

    @classmethod
    def find(cls) -> Path | None:
        """The program, where a certificate can be made for it too."""
        return super().find() if shutil.which("openssl") else None

    @property
    def endpoint(self) -> wire.Endpoint:
        return wire.Endpoint(self.port, tls=True)

    def command(self) -> list[str]:
        subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"]
        openssl = ["openssl", "req", "-x509", *key, "-out", "certificate.pem", *subject]
        subprocess.run(openssl, cwd=self.directory, check=True, capture_output=True)
        return super().command()

    def environment(self) -> Mapping[str, str]:
        certificate, key = self.directory / "certificate.pem", self.directory / "key.pem"
        tls = {"ENTREPOT_HTTP__TLS__CERTIFICATE": str(certificate), "ENTREPOT_HTTP__TLS__KEY": str(key)}
        return {**super().environment(), **tls}


class EntrepotS3(Entrepot):
    """On PostgreSQL and Ceph's S3 gateway (objects in memory), whose own cost is not counted."""

    key = "entrepot-s3"
    name = "entrepot, PostgreSQL + S3"
    syncs = "the database's commit; objects are in the gateway's memory"
    install = "tests/support/install-tools apt"

    @classmethod
    def find(cls) -> Path | None:
        """The program, where all that it needs is there too."""
        needed = [shutil.which("ceph-mon"), shutil.which("ceph-osd"), shutil.which("radosgw"), Postgres.find("initdb")]
        return super().find() if all(needed) else None

    def start(self) -> Self:
        self._postgres = Postgres(self.directory / "postgres", self.port + 1)
        self._gateway = S3Gateway(self.directory / "s3", self.port + 2)
        self._postgres.start()
        self._gateway.start()
        return super().start()

    def stop(self) -> None:
        super().stop()
        self._gateway.stop()
        self._postgres.stop()

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), **self._postgres.settings(), **self._gateway.settings()}


class Postgres:
    """A PostgreSQL cluster of its own, as Debian's postgresql package installs the programs."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._port = port

    @staticmethod
    def find(program: str) -> Path | None:
        """A program of the newest PostgreSQL there is; Debian keeps most of them off the PATH."""
        return max(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), default=None)

    def _run(self, program: str, *arguments: str) -> None:
        # The server refuses to run as root.
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*user, str(self.find(program)), *arguments]
        subprocess.run(command, check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        self._directory.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(self._directory, "postgres")
        data, log = str(self._directory / "data"), str(self._directory / "log")
        self._run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C")
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._directory}"
        self._run("pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._directory / "data"), "-m", "fast", "stop")

    def settings(self) -> Mapping[str, str]:
        return {"ENTREPOT_DATABASE__URL": f"postgresql://postgres@127.0.0.1:{self._port}/postgres"}


class S3Gateway:
    """tests/support/s3-gateway with one bucket."""

    _BUCKET = "bench"

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._url = f"http://127.0.0.1:{port}"
        self._port = port

    def _run(self, *arguments: str) -> None:
        script = CHECKOUT / "tests" / "support" / "s3-gateway"
        # Into a file: the servers that it leaves behind would keep a pipe open.
        with self._directory.with_suffix(".log").open("ab") as log:
            subprocess.run([script, *arguments], check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self) -> None:
        self._run(str(self._directory), str(self._port))
        Bucket(self._url, self._BUCKET).create()

    def stop(self) -> None:
        self._run("stop", str(self._directory))

    def settings(self) -> Mapping[str, str]:
        prefix = "ENTREPOT_STORAGE__S3__"
        return {
            "ENTREPOT_STORAGE__BACKEND": "s3",
            prefix + "ENDPOINT": self._url,
            prefix + "BUCKET": self._BUCKET,
            prefix + "ACCESS_KEY_ID": ACCESS_KEY_ID,
            prefix + "SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        }
