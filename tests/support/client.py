"""A client that speaks the distribution protocol step by step over one keep-alive connection."""

import hashlib
import http.client
import json
from collections.abc import Iterable, Mapping, Sequence
from email.message import Message
from typing import Any, NamedTuple, Self

_SECONDS = 60  # until an answer must have come
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: Message
    body: bytes

    @property
    def location(self) -> str:
        """The path of the Location header."""
        location = str(self.headers["Location"])
        return location if location.startswith("/") else "/" + location.split("/", 3)[3]

    @property
    def offset(self) -> int:
        """How many bytes an upload has, after the Range header. `0-0` is taken for none."""
        return last + 1 if (last := int(self.headers["Range"].partition("-")[2])) else 0

    @property
    def error(self) -> str:
        """The code of a refusal; AssertionError unless it has the specification's error form."""
        assert self.headers["Content-Type"] == "application/json", self
        (error,) = json.loads(self.body)["errors"]
        assert error["message"], self
        return str(error["code"])


class Client:
    """One connection, made when it is first needed and made again after the server closed it."""

    def __init__(self, address: str) -> None:
        """`address`: HOST:PORT."""
        self._connection = http.client.HTTPConnection(address, timeout=_SECONDS)
        self.worker = ""
        """Which worker gave the last answer: every worker has a prefix of its own in its request ids."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Reply:
        """One request; a body in pieces goes out in the chunked coding. OSError or HTTPException without an answer."""
        chunked = body is not None and not isinstance(body, bytes)
        if body is None and method in ("POST", "PUT", "PATCH"):
            body = b""
        sent = {**(headers or {}), **({"Transfer-Encoding": "chunked"} if chunked else {})}
        try:
            self._connection.request(method, target, body, sent, encode_chunked=chunked)
            with self._connection.getresponse() as answer:
                reply = Reply(answer.status, answer.msg, answer.read())
        except BaseException:
            self._connection.close()
            raise
        self.worker = reply.headers.get("X-Request-Id", "").partition("-")[0]
        return reply

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def open_upload(self, repository: str) -> str:
        """POST; returns the session's location."""
        reply = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert reply.status == 202, reply
        return reply.location

    def append(self, location: str, content: bytes, start: int | None = None) -> Reply:
        """PATCH, with a Content-Range when `start` is given."""
        headers = {} if start is None else {"Content-Range": f"{start}-{start + len(content) - 1}"}
        return self.request("PATCH", location, headers, content)

    def close_upload(self, location: str, digest: str, content: bytes = b"") -> Reply:
        """PUT."""
        return self.request("PUT", f"{location}?digest={digest}", body=content)

    def push_at_once(self, repository: str, content: bytes) -> Reply:
        """The whole blob in one POST."""
        return self.request("POST", f"/v2/{repository}/blobs/uploads/?digest={sha256(content)}", body=content)

    def push_blob(self, repository: str, content: bytes) -> str:
        """POST and PUT; returns the digest. AssertionError unless the blob was accepted."""
        digest = sha256(content)
        reply = self.close_upload(self.open_upload(repository), digest, content)
        assert reply.status == 201, reply
        return digest

    def put_manifest(self, repository: str, reference: str, content: bytes, tags: Sequence[str] = ()) -> Reply:
        """PUT an OCI image manifest by tag, or by digest with further tags."""
        query = "?" + "&".join(f"tag={tag}" for tag in tags) if tags else ""
        headers = {"Content-Type": OCI_MANIFEST}
        return self.request("PUT", f"/v2/{repository}/manifests/{reference}{query}", headers, content)

    def push_image(self, repository: str, tag: str, image: "Image") -> str:
        """Every blob, then the manifest by tag; returns its digest. AssertionError unless all was accepted."""
        for blob in image.blobs:
            self.push_blob(repository, blob)
        reply = self.put_manifest(repository, tag, image.manifest)
        assert reply.status == 201, reply
        return image.digest

    def blob(self, repository: str, digest: str) -> Reply:
        """GET a blob."""
        return self.request("GET", f"/v2/{repository}/blobs/{digest}")

    def manifest(self, repository: str, reference: str) -> Reply:
        """GET a manifest."""
        return self.request("GET", f"/v2/{repository}/manifests/{reference}")

    def assert_pulls(self, repository: str, tag: str, image: "Image") -> None:
        """Pull an image and compare every byte."""
        reply = self.manifest(repository, tag)
        assert (reply.status, reply.body) == (200, image.manifest), reply
        for content in image.blobs:
            reply = self.blob(repository, sha256(content))
            assert reply.status == 200, reply
            assert reply.body == content


class Image(NamedTuple):
    """A config, layers, and the manifest that names them."""

    blobs: tuple[bytes, ...]
    manifest: bytes

    @property
    def digest(self) -> str:
        """The manifest's."""
        return sha256(self.manifest)


def an_image(*layers: bytes, note: str = "") -> Image:
    """An image of these layers; another `note` makes another image of the same layers."""
    config = json.dumps({"os": "linux", "architecture": "amd64", "author": note}).encode()
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(OCI_CONFIG, config),
        "layers": [_descriptor(OCI_LAYER, layer) for layer in layers],
        "annotations": {"note": note},
    }
    return Image((config, *layers), json.dumps(manifest).encode())


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def sha256(content: bytes) -> str:
    """The digest of `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
