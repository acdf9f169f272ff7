"""The database or the object storage goes away under load: refusals in the specification's form, and when it is back
everything goes on without a restart."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.client import Client, Reply, an_image, sha256
from tests.support.node import Node, shared_settings
from tests.support.s3 import Bucket
from tests.support.stored import StoredObjects, disagreements
from tests.support.tcp_proxy import TcpProxy

_NAME = "outage/app"
_LAYER = b"layer" * 20_000
_IMAGE = an_image(_LAYER)
_NEW = b"new" * 1000
_PUSHERS = 4


@dataclass(frozen=True)
class _Place:
    """A server whose ways to its database and to its objects can be cut."""

    node: Node
    database: TcpProxy
    objects: TcpProxy
    stored: StoredObjects


@pytest.fixture
def place(tmp_path: Path, postgres_url: str, bucket: Bucket) -> Iterator[_Place]:
    url, endpoint = urlsplit(postgres_url), urlsplit(bucket.endpoint)
    with (
        TcpProxy(str(url.hostname), url.port or 5432) as database,
        TcpProxy(str(endpoint.hostname), endpoint.port or 80) as objects,
    ):
        through = url._replace(netloc=f"{url.username}@127.0.0.1:{database.port}").geturl()
        settings = shared_settings(through, bucket, f"http://127.0.0.1:{objects.port}")
        with Node(tmp_path / "data", settings=settings) as node:
            yield _Place(node, database, objects, StoredObjects(postgres_url, bucket))


def _requests(location: str) -> dict[str, tuple[str, str, bytes]]:
    """Title → (method, target, body). `location`: an open upload that holds _NEW."""
    blob = f"/v2/{_NAME}/blobs/{sha256(_LAYER)}"
    uploads = f"/v2/{_NAME}/blobs/uploads/"
    other = b"other" * 1000
    return {
        "GET manifest": ("GET", f"/v2/{_NAME}/manifests/v1", b""),
        "HEAD manifest": ("HEAD", f"/v2/{_NAME}/manifests/v1", b""),
        "PUT manifest": ("PUT", f"/v2/{_NAME}/manifests/v2", _IMAGE.manifest),
        "DELETE tag": ("DELETE", f"/v2/{_NAME}/manifests/none", b""),
        "tags": ("GET", f"/v2/{_NAME}/tags/list", b""),
        "catalog": ("GET", "/v2/_catalog", b""),
        "referrers": ("GET", f"/v2/{_NAME}/referrers/{_IMAGE.digest}", b""),
        "HEAD blob": ("HEAD", blob, b""),
        "POST": ("POST", uploads, b""),
        "mount": ("POST", f"/v2/outage/other/blobs/uploads/?mount={sha256(_LAYER)}&from={_NAME}", b""),
        "GET blob": ("GET", blob, b""),
        "POST blob": ("POST", f"{uploads}?digest={sha256(other)}", other),
        "status": ("GET", location, b""),
        "PATCH": ("PATCH", location, other),
        "PUT": ("PUT", f"{location}?digest={sha256(_NEW)}", b""),
    }


_NEEDS_OBJECTS = {"GET blob", "POST blob", "status", "PATCH", "PUT"}


def _ask_all(address: str, location: str) -> dict[str, Reply]:
    """Every request at once, each on its own connection."""

    def ask(request: tuple[str, str, bytes]) -> Reply:
        method, target, body = request
        with Client(address) as client:
            return client.request(method, target, body=body)

    requests = _requests(location)
    with ThreadPoolExecutor(len(requests)) as threads:
        return dict(zip(requests, threads.map(ask, requests.values()), strict=True))


def _assert_unavailable(title: str, reply: Reply) -> None:
    assert reply.status == 503, (title, reply)
    assert int(reply.headers["Retry-After"]) > 0
    if not title.startswith("HEAD"):
        assert reply.error == "UNAVAILABLE", (title, reply)


def _open_upload(client: Client) -> str:
    location = client.open_upload(_NAME)
    assert client.append(location, _NEW).status == 202
    return location


def test_without_the_database_every_request_is_answered_503_and_when_it_is_back_all_goes_on(place: _Place) -> None:
    with Client(place.node.address) as client:
        client.push_image(_NAME, "v1", _IMAGE)
        location = _open_upload(client)
        place.database.cut()
        for title, reply in _ask_all(place.node.address, location).items():
            _assert_unavailable(title, reply)
        assert client.request("GET", "/livez").status == 200
        assert client.request("GET", "/readyz").status == 503
        place.database.mend()
        _assert_all_goes_on(place, client, location)


def test_without_object_storage_rows_are_still_answered_and_what_needs_bytes_gets_503(place: _Place) -> None:
    with Client(place.node.address) as client:
        client.push_image(_NAME, "v1", _IMAGE)
        location = _open_upload(client)
        place.objects.cut()
        for title, reply in _ask_all(place.node.address, location).items():
            if title in _NEEDS_OBJECTS:
                _assert_unavailable(title, reply)
            else:
                assert reply.status < 300 or (title, reply.status) == ("DELETE tag", 404), (title, reply)
        assert client.request("GET", "/readyz").status == 503
        place.objects.mend()
        _assert_all_goes_on(place, client, location)


def test_a_silent_database_is_told_before_the_prober_gives_up(place: _Place) -> None:
    with Client(place.node.address) as client:
        client.push_image(_NAME, "v1", _IMAGE)
        location = _open_upload(client)
        place.database.silence()
        for _ in range(2):
            reply = client.request("GET", "/readyz")
            assert (reply.status, reply.body.count(b"no answer within 2 seconds")) == (503, 1), reply
        place.database.mend()
        while client.request("GET", "/readyz").status != 200:
            pass  # the probe that was silent ends now; a test that hangs here is stopped by its limit
        _assert_all_goes_on(place, client, location)


def _assert_all_goes_on(place: _Place, client: Client, location: str) -> None:
    assert client.request("GET", "/readyz").status == 200
    client.assert_pulls(_NAME, "v1", _IMAGE)
    assert client.request("GET", location).offset == len(_NEW)
    assert client.close_upload(location, sha256(_NEW)).status == 201
    assert client.blob(_NAME, sha256(_NEW)).body == _NEW
    assert list(disagreements(place.stored)) == []


@pytest.mark.parametrize("lost", ["database", "objects"])
def test_under_load_every_answer_is_a_success_or_a_503_and_nothing_acknowledged_is_lost(
    place: _Place, lost: str
) -> None:
    way: TcpProxy = getattr(place, lost)
    pushers = [_Pusher(place.node.address, number) for number in range(_PUSHERS)]
    for pusher in pushers:
        pusher.start()
    for _ in range(2):
        _wait_for_all(pushers, lambda reply: reply.status == 201)
        way.cut()
        _wait_for_all(pushers, lambda reply: reply.status == 503)
        way.mend()
    _wait_for_all(pushers, lambda reply: reply.status == 201)
    for pusher in pushers:
        pusher.end()
    with Client(place.node.address) as client:
        for pusher in pushers:
            for content in pusher.acknowledged:
                assert client.blob(pusher.repository, sha256(content)).body == content
    assert list(disagreements(place.stored)) == []


def _wait_for_all(pushers: "list[_Pusher]", wanted: Callable[[Reply], bool]) -> None:
    for pusher in pushers:
        pusher.wait_for(wanted)


class _Pusher(threading.Thread):
    """Pushes one blob after another, whatever the answers."""

    def __init__(self, address: str, number: int) -> None:
        super().__init__(daemon=True)
        self.repository = f"outage/client{number}"
        self.acknowledged: list[bytes] = []
        self._address = address
        self._changed = threading.Condition()
        self._wanted: Callable[[Reply], bool] | None = None
        self._over = False
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Push until `end`."""
        try:
            with Client(self._address) as client:
                number = 0
                while not self._over:
                    number += 1
                    self._push(client, f"{self.repository} {number}".encode() * 500)
        except BaseException as failure:
            self._failure = failure
            with self._changed:
                self._changed.notify_all()

    def wait_for(self, wanted: Callable[[Reply], bool]) -> None:
        """Return after the next answer of this kind; raises what made the pusher stop."""
        with self._changed:
            self._wanted = wanted
            assert self._changed.wait_for(lambda: self._wanted is None or self._failure is not None, 60)
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Stop after the push that is on its way."""
        self._over = True
        self.join()
        if self._failure is not None:
            raise self._failure

    def _push(self, client: Client, content: bytes) -> None:
        opened = self._noted(client.request("POST", f"/v2/{self.repository}/blobs/uploads/"))
        if opened.status != 202:
            return
        if self._noted(client.close_upload(opened.location, sha256(content), content)).status == 201:
            self.acknowledged.append(content)

    def _noted(self, reply: Reply) -> Reply:
        if reply.status not in (201, 202):
            _assert_unavailable("under load", reply)
        with self._changed:
            if self._wanted is not None and self._wanted(reply):
                self._wanted = None
                self._changed.notify_all()
        return reply
