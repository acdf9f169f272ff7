"""Which request is which (distribution-spec, "Endpoints"; protocol ids e1 to e14).

Repository names contain slashes and may contain route words, so a path is read from the right.
"""

import re
from typing import NamedTuple

_BLOB_UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/?")
_UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/([^/]+)")
_RESOURCE = re.compile(r"/v2/(.+)/(manifests|blobs|referrers)/([^/]+)")
_TAGS = re.compile(r"/v2/(.+)/tags/list")


class Route(NamedTuple):
    """What a path names: a kind of resource, the repository as it was written, and the reference."""

    kind: str
    name: str = ""
    reference: str = ""


METHODS = {
    "ping": ("GET", "HEAD"),
    "catalog": ("GET", "HEAD"),
    "tags": ("GET", "HEAD"),
    "uploads": ("POST",),
    "upload": ("GET", "PATCH", "PUT", "DELETE"),
    "blobs": ("GET", "HEAD", "DELETE"),
    "manifests": ("GET", "HEAD", "PUT", "DELETE"),
    "referrers": ("GET", "HEAD"),
}


def route(path: str) -> Route | None:
    """The route of a path below `/v2`; None when there is none."""
    if path in ("/v2/", "/v2"):
        return Route("ping")
    if path == "/v2/_catalog":
        return Route("catalog")
    if match := _BLOB_UPLOADS.fullmatch(path):
        return Route("uploads", match[1])
    if match := _UPLOAD.fullmatch(path):
        return Route("upload", match[1], match[2])
    if match := _RESOURCE.fullmatch(path):
        return Route(match[2], match[1], match[3])
    if match := _TAGS.fullmatch(path):
        return Route("tags", match[1])
    return None
