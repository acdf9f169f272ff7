"""Entrepot as a real process inside a machine, and plain HTTP to it."""

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from tests.support.certificates import Certificate
from tests.support.machine import Machine, Process
from tests.support.tools import CHECKOUT

_READY = r"entrepot: ready on (?P<url>https?://\S+)"


def entrepot_command() -> list[str]:
    """The `entrepot` of this checkout's environment; ENTREPOT_E2E_COMMAND names another program with the same flags."""
    return shlex.split(os.environ.get("ENTREPOT_E2E_COMMAND", "")) or [str(CHECKOUT / ".venv" / "bin" / "entrepot")]


@dataclass(frozen=True)
class Answer:
    """What a server answered: the final status, headers (any case) and body."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def digest(self) -> str:
        """The Docker-Content-Digest header, or "" without one."""
        return self.headers.get("Docker-Content-Digest", "")


@dataclass(frozen=True)
class Registry:
    """A running server: `address` is what stands before the first slash of an image's name."""

    machine: Machine
    process: Process
    address: str
    url: str
    data_directory: Path

    @property
    def plain_http(self) -> bool:
        """Whether clients must be told not to expect TLS."""
        return self.url.startswith("http:")

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """One request by curl, as the machine sees the server; redirects are not followed."""
        directory = self.machine.new_directory("curl")
        head, content = directory / "head", directory / "body"
        command: list[str | Path] = ["curl", "--silent", "--show-error", "--dump-header", head, "--output", content]
        command += ["--head"] if method == "HEAD" else ["--request", method]
        for name, value in (headers or {}).items():
            command += ["--header", f"{name}: {value}"]
        if body:
            command += ["--data-binary", "@-"]
        self.machine.run(*command, f"{self.url}{path}", stdin=body)
        # A `100 Continue` stands before the head of the answer.
        status, _, lines = head.read_bytes().rstrip().split(b"\r\n\r\n")[-1].partition(b"\r\n")
        answer = BytesParser().parsebytes(lines + b"\r\n\r\n", headersonly=True)
        return Answer(int(status.split()[1]), answer, content.read_bytes() if content.exists() else b"")

    def manifest(self, repository: str, reference: str) -> Answer:
        """GET a manifest of whatever media type."""
        return self.request("GET", f"/v2/{repository}/manifests/{reference}", {"Accept": "*/*"})

    def upload_blob(self, repository: str, content: bytes) -> str:
        """POST and PUT a blob; returns its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        location = begun.headers["Location"].removeprefix(self.url)
        separator = "&" if "?" in location else "?"
        headers = {"Content-Type": "application/octet-stream"}
        ended = self.request("PUT", f"{location}{separator}digest={digest}", headers, content)
        assert (begun.status, ended.status, ended.digest) == (202, 201, digest), ended
        return digest

    def put_manifest(self, repository: str, reference: str, media_type: str, content: bytes) -> Answer:
        """PUT a manifest."""
        path = f"/v2/{repository}/manifests/{reference}"
        return self.request("PUT", path, {"Content-Type": media_type}, content)

    def blob_sha256(self, repository: str, digest: str) -> str:
        """GET a blob and hash what came."""
        answer = self.request("GET", f"/v2/{repository}/blobs/{digest}")
        assert answer.status == 200, answer
        return f"sha256:{hashlib.sha256(answer.body).hexdigest()}"

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest and see that it is gone, under its digest and so under every tag."""
        path = f"/v2/{repository}/manifests/{digest}"
        assert self.request("DELETE", path).status == 202
        assert self.request("HEAD", path).status == 404

    def tags(self, repository: str) -> list[str]:
        """The repository's tags, as the first page of the listing gives them; none for an unknown repository."""
        answer = self.request("GET", f"/v2/{repository}/tags/list")
        return list(answer.json()["tags"] or ()) if answer.status == 200 else []


def start_registry(
    machine: Machine,
    name: str,
    *,
    listen: str = "127.0.0.1:0",
    host: str = "",
    certificate: Certificate | None = None,
    settings: Mapping[str, str] | None = None,
    accounts: bool = False,
) -> Registry:
    """Start `entrepot serve` in `machine` with two workers, stopped with the machine; returns when it is ready.

    It is open unless it has `accounts`. `host` is the name by which clients call it (else the address of `listen`);
    `settings` are environment variables.
    """
    data_directory = machine.directory / f"{name}-data"
    environment = {"ENTREPOT_STORAGE__DELETE__ENABLED": "true", **(settings or {})}
    if certificate is not None:
        environment["ENTREPOT_HTTP__TLS__CERTIFICATE"] = str(certificate.certificate)
        environment["ENTREPOT_HTTP__TLS__KEY"] = str(certificate.key)
    command = [*entrepot_command(), "serve", "--listen", listen, "--data-dir", str(data_directory), "--workers", "2"]
    if not accounts:
        command += ["--open", *([] if listen.startswith("127.") else ["--open-to-network"])]
    process = machine.start(name, *command, ready=_READY, environment=environment)
    scheme, _, address = process.ready["url"].partition("://")
    if host:
        port = address.rpartition(":")[2]
        address = host if (scheme, port) == ("https", "443") else f"{host}:{port}"
    return Registry(machine, process, address, f"{scheme}://{address}", data_directory)
