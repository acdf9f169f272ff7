"""Older versions of objects, in a bucket that keeps them: obstore knows none, so these few requests are signed here.

"ListObjectVersions", "DeleteObject" and "GetBucketVersioning" of Amazon's S3 API reference; AWS Signature Version 4.
"""

import asyncio
import hashlib
import hmac
import http.client
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from html import unescape
from urllib.parse import quote, urlsplit

import structlog

from entrepot.registry.errors import StorageError
from entrepot.registry.ports import OlderVersions

_ANSWER = 10  # seconds until a request must be answered
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)  # seconds before a server that is busy is asked again
_LOOK_AGAIN = 60.0  # seconds: versioning may be switched on while we run
_NOTHING = hashlib.sha256(b"").hexdigest()
_KEPT = re.compile(r"<Status>(Enabled|Suspended)</Status>")  # suspended: older versions are still there
_EACH = re.compile(r"<(Version|DeleteMarker)>(.*?)</\1>", re.DOTALL)
_KEY = re.compile(r"<Key>(.*?)</Key>")
_ID = re.compile(r"<VersionId>(.*?)</VersionId>")
_RIGHTS = "s3:GetBucketVersioning, s3:ListBucketVersions or s3:DeleteObjectVersion"
_log = structlog.get_logger()


class MayNotError(Exception):
    """The keys have no right to do this."""


class Versions:
    """The versions of one bucket's objects."""

    def __init__(self, bucket: str, region: str, endpoint: str, access_key_id: str, secret_access_key: str) -> None:
        """As ObjectStore; the keys must be given."""
        where = urlsplit(endpoint or f"https://s3.{region}.amazonaws.com")
        self._secure = where.scheme == "https"
        self._host = where.netloc.rpartition("@")[2]
        self._bucket = bucket
        self._region = region
        self._id = access_key_id
        self._secret = secret_access_key
        self._kept = False
        self._looked: float | None = None
        self._removed: bool | None = None  # whether we could, the last time

    async def remove(self, path: str) -> bool:
        """Remove an object with all its versions; False, and nothing done, where none are kept, or we may not."""
        try:
            if not await self._are_kept():
                return False
            while found := await self._of(path):
                for version in found:
                    await self._ask("DELETE", f"/{path}", {"versionId": version})
        except MayNotError:
            self._removed = False
            _log.warning(f"older versions of a removed object stay: the key lacks {_RIGHTS}", bucket=self._bucket)
            return False
        self._removed = True
        return True

    async def state(self) -> OlderVersions:
        """What becomes of them, as far as can be seen without removing any."""
        bucket = f"the bucket {self._bucket}"
        try:
            if not await self._are_kept():
                return OlderVersions(stay=False, words=f"{bucket} keeps no older versions of objects")
            await self._ask("GET", "", {"max-keys": "1", "versions": ""})
        except MayNotError:
            self._removed = False
        except StorageError as error:
            words = f"whether {bucket} keeps older versions of objects cannot be read now: {error.message}"
            return OlderVersions(stay=True, words=words)
        if self._removed is False:
            words = f"older versions of objects in {bucket}, if it keeps them, stay: the key lacks {_RIGHTS}"
            return OlderVersions(stay=True, words=words)
        condition = "" if self._removed else ", if the key has s3:DeleteObjectVersion"
        return OlderVersions(stay=False, words=f"{bucket} keeps older versions: they are deleted too{condition}")

    async def _are_kept(self) -> bool:
        if self._looked is None or time.monotonic() - self._looked > _LOOK_AGAIN:
            self._kept = _KEPT.search(await self._ask("GET", "", {"versioning": ""})) is not None
            self._looked = time.monotonic()
        return self._kept

    async def _of(self, path: str) -> list[str]:
        answer = await self._ask("GET", "", {"prefix": path, "versions": ""})
        found = []
        for _, each in _EACH.findall(answer):
            key, version = _KEY.search(each), _ID.search(each)
            if key and version and unescape(key[1]) == path:
                found.append(unescape(version[1]))
        return found

    async def _ask(self, method: str, path: str, query: Mapping[str, str]) -> str:
        for pause in (*_PAUSES, None):
            try:
                status, body = await asyncio.to_thread(self._asked, method, path, query)
            except (OSError, http.client.HTTPException):
                raise StorageError(f"the bucket {self._bucket} at {self._host} cannot be reached") from None
            if status < http.client.INTERNAL_SERVER_ERROR or pause is None:
                break
            await asyncio.sleep(pause)
        if status == http.client.FORBIDDEN:
            raise MayNotError
        if status not in (http.client.OK, http.client.NO_CONTENT, http.client.NOT_FOUND):
            raise StorageError(f"the bucket {self._bucket} at {self._host} answered {status} about versions")
        return body

    def _asked(self, method: str, path: str, query: Mapping[str, str]) -> tuple[int, str]:
        make = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = make(self._host, timeout=_ANSWER)
        try:
            place = quote(f"/{self._bucket}{path}", safe="/-_.~")
            asked = "&".join(f"{quote(name, safe='')}={quote(query[name], safe='-_.~')}" for name in sorted(query))
            connection.request(method, f"{place}?{asked}", headers=self._signed(method, place, asked))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _signed(self, method: str, path: str, query: str) -> dict[str, str]:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": self._host, "x-amz-content-sha256": _NOTHING, "x-amz-date": now}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{_NOTHING}"
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        credential = f"AWS4-HMAC-SHA256 Credential={self._id}/{scope}"
        return {**headers, "authorization": f"{credential}, SignedHeaders={names}, Signature={key.hex()}"}
