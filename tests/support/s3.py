"""A real S3 server for the test run (Ceph's RADOS gateway), and a bucket of its own for each test.

ENTREPOT_TEST_S3=http://HOST:PORT names one that `s3-gateway` started already.
"""

import hashlib
import hmac
import http.client
import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.support.services import free_ports, one_for_all, require_tools, run_directory

REGION = "us-east-1"
ACCESS_KEY_ID = "AKIATEST"
SECRET_ACCESS_KEY = "secretsecret"
FULL_ACCESS_KEY_ID = "AKIAFULL"
"""Of an account that may store 1 MiB (made by `s3-gateway`, with the same secret)."""

_SCRIPT = Path(__file__).parent / "s3-gateway"
_STARTS = 2
_VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@dataclass(frozen=True)
class Bucket:
    """An empty bucket at a real server."""

    endpoint: str
    name: str
    access_key_id: str = ACCESS_KEY_ID

    def create(self) -> None:
        """Make the bucket."""
        self._request("PUT", "")

    def objects(self) -> list[str]:
        """The keys of all objects."""
        return [key for page in self._listed() for key in _keys(page)]

    def _listed(self) -> Iterator[bytes]:
        """The pages of the list of all objects."""
        after = ""
        while True:
            page = self._request("GET", f"{after}list-type=2")
            yield page
            more = re.search(rb"<NextContinuationToken>(.*?)</NextContinuationToken>", page)
            if more is None:
                return
            after = f"continuation-token={quote(unescape(more[1].decode()), safe='')}&"

    def everything(self) -> dict[str, tuple[str, str]]:
        """What the listing says of each object (its time, tag, size) and the hash of its bytes, by key."""
        listed = b"".join(self._listed()).decode()
        found = re.findall(r"<Contents>.*?</Contents>", listed, re.DOTALL)
        entries = {_keys(each.encode())[0]: each for each in found}
        return {key: (each, hashlib.sha256(self.content(key)).hexdigest()) for key, each in entries.items()}

    def content(self, key: str) -> bytes:
        """An object's bytes."""
        return self._request("GET", "", f"/{key}")

    def keep_versions(self) -> None:
        """Keep what is replaced or removed from now on."""
        self._request("PUT", "versioning=", content=_VERSIONING)

    def forbid(self, action: str) -> None:
        """Refuse this to everybody, by a policy of the bucket."""
        denied = {"Effect": "Deny", "Principal": "*", "Action": [action]}
        places = [f"arn:aws:s3:::{self.name}", f"arn:aws:s3:::{self.name}/*"]
        policy = {"Version": "2012-10-17", "Statement": [{**denied, "Resource": places}]}
        self._request("PUT", "policy=", content=json.dumps(policy).encode())

    def versions(self) -> list[str]:
        """The keys of all versions of all objects, and of the marks of those that were removed."""
        return _keys(self._request("GET", "versions="))

    def unfinished_uploads(self) -> list[str]:
        """The keys of multipart uploads that were neither completed nor aborted."""
        return _keys(self._request("GET", "uploads="))

    def put(self, key: str, content: bytes) -> None:
        """Store an object, behind the back of whoever uses the bucket."""
        self._request("PUT", "", f"/{key}", content)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._request("DELETE", "", f"/{key}")

    def _request(self, method: str, query: str, path: str = "", content: bytes = b"") -> bytes:
        """A request for the bucket itself, or `path` in it, signed after AWS Signature Version 4; the answer's body."""
        host = urlsplit(self.endpoint).netloc
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        sent = hashlib.sha256(content).hexdigest()
        headers = {"host": host, "x-amz-content-sha256": sent, "x-amz-date": now}
        signed = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"{method}\n/{self.name}{path}\n{query}\n{lines}\n{signed}\n{sent}"
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{SECRET_ACCESS_KEY}".encode()
        for part in [*scope.split("/"), text]:
            key = hmac.digest(key, part.encode(), "sha256")
        credential = f"AWS4-HMAC-SHA256 Credential={self.access_key_id}/{scope}"
        headers["Authorization"] = f"{credential}, SignedHeaders={signed}, Signature={key.hex()}"
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            target = f"/{self.name}{path}?{query}" if query else f"/{self.name}{path}"
            connection.request(method, target, content or None, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status in (200, 204), f"{method} {self.name} {query}: {answer.status} {body!r}"
        return body


def _keys(listing: bytes) -> list[str]:
    return re.findall(r"<Key>(.*?)</Key>", listing.decode())


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real S3 server."""
    running = os.environ.get("ENTREPOT_TEST_S3")
    if running:
        yield running
        return
    require_tools("ceph-mon", "ceph-osd", "radosgw", "uuidgen")
    directory = run_directory(tmp_path_factory) / "s3-gateway"
    state = directory.with_name("s3-server")
    with one_for_all(state, lambda: _start(directory), lambda: _stop(directory)) as url:
        yield url


@pytest.fixture
def bucket(s3_server: str) -> Bucket:
    """A new bucket."""
    made = Bucket(s3_server, f"test-{uuid.uuid4().hex}")
    made.create()
    return made


def _start(directory: Path) -> str:
    for _ in range(_STARTS):  # another program may take the ports between the look and the start
        port = free_ports(2)
        # Output goes to a file: the servers keep a pipe open, and whoever reads it waits for ever.
        log = directory.with_name("s3-gateway.log")
        with log.open("w") as output:
            command = ["bash", str(_SCRIPT), str(directory), str(port)]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        if done.returncode == 0:
            return f"http://127.0.0.1:{port}"
        _stop(directory)
    raise AssertionError(f"s3-gateway did not start:\n{log.read_text()}")


def _stop(directory: Path) -> None:
    subprocess.run(["bash", str(_SCRIPT), "stop", str(directory)], check=True)
