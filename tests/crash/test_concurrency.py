"""Many clients at the same moment, on two workers of one server and on two servers that share database and objects."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.client import Client, Reply, an_image, sha256
from tests.support.node import Node, shared_settings
from tests.support.s3 import Bucket
from tests.support.stored import Stored, StoredFiles, StoredObjects, disagreements, not_blobs, unnamed

T = TypeVar("T")
_CLIENTS = 32
_WRITERS = 8
_READERS = 4
_MOVES = 12  # of a tag, by each writer
_ROUNDS = 10
_NAME = "together/app"
_TRIES = 200  # connections until one has met each of two workers


@dataclass(frozen=True)
class _Fleet:
    """Two processes that answer for one registry: `nodes` has one server with two workers, or two with one each."""

    nodes: Sequence[Node]
    stored: Stored

    def clients(self, count: int) -> list[Client]:
        """Clients that meet the processes in turn."""
        pair = self.pair()
        more = [self._client(pair[number % 2].worker) for number in range(count - 2)]
        return [*pair, *more]

    def pair(self) -> tuple[Client, Client]:
        """Two clients, each with a connection to another process."""
        first = self._connected(0)
        return first, self._other_than(first.worker)

    def stop(self) -> None:
        """Stop all servers gracefully."""
        for node in self.nodes:
            assert node.stop() == 0

    def _client(self, worker: str) -> Client:
        for number in range(_TRIES):
            client = self._connected(number)
            if client.worker == worker:
                return client
            client.close()
        raise AssertionError(f"no connection of {_TRIES} met the process {worker}")

    def _other_than(self, worker: str) -> Client:
        for number in range(_TRIES):
            client = self._connected(number)
            if client.worker != worker:
                return client
            client.close()
        raise AssertionError(f"all of {_TRIES} connections met the process {worker}")

    def _connected(self, number: int) -> Client:
        client = Client(self.nodes[number % len(self.nodes)].address)
        assert client.request("GET", "/livez").status == 200
        return client


@pytest.fixture(params=["two workers", pytest.param("two nodes", marks=pytest.mark.xdist_group("large"))])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Fleet]:
    with ExitStack() as stack:
        if request.param == "two workers":
            node = stack.enter_context(Node(tmp_path / "data"))
            yield _Fleet([node], StoredFiles(tmp_path / "data"))
            return
        url: str = request.getfixturevalue("postgres_url")
        bucket: Bucket = request.getfixturevalue("bucket")
        settings = shared_settings(url, bucket)
        nodes = [Node(tmp_path / name, workers=1, settings=settings) for name in ("one", "other")]
        for node in nodes:
            stack.enter_context(node)
        yield _Fleet(nodes, StoredObjects(url, bucket))


def _at_once(works: Sequence[Callable[[], T]]) -> list[T]:
    """Do all of these at the same moment, each in a thread of its own; returns what they returned, in order."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        gate.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


def test_32_clients_push_the_same_image_and_its_bytes_are_stored_once(fleet: _Fleet) -> None:
    image = an_image(os.urandom(30_000), os.urandom(200_000))

    def push(client: Client) -> str:
        with closing(client):
            digest = client.push_image(_NAME, "v1", image)
            client.assert_pulls(_NAME, "v1", image)
            return digest

    digests = _at_once([partial(push, client) for client in fleet.clients(_CLIENTS)])
    assert digests == [image.digest] * _CLIENTS
    assert fleet.stored.rows("SELECT COUNT(*) FROM blobs") == [(len(image.blobs),)]
    assert list(disagreements(fleet.stored)) == []
    assert unnamed(fleet.stored) == set()
    fleet.stop()
    fleet.stored.remove_unfinished()
    assert not_blobs(fleet.stored) == set()


def test_of_two_patches_at_one_offset_one_wins_and_the_other_is_told_where_to_go_on(fleet: _Fleet) -> None:
    one, other = fleet.pair()
    with closing(one), closing(other):
        for _ in range(_ROUNDS):
            location = one.open_upload(_NAME)
            written = b""
            for _ in range(2):
                bodies = [os.urandom(300_000), os.urandom(200_000)]
                replies = _at_once(
                    [
                        partial(one.append, location, bodies[0], len(written)),
                        partial(other.append, location, bodies[1], len(written)),
                    ]
                )
                assert sorted(reply.status for reply in replies) == [202, 416]
                written += bodies[0] if replies[0].status == 202 else bodies[1]
                for reply in replies:
                    assert (reply.offset, reply.location) == (len(written), location)
                loser = max(replies, key=lambda reply: reply.status)
                assert loser.error == "BLOB_UPLOAD_INVALID"
            assert other.close_upload(location, sha256(written)).status == 201
            assert one.blob(_NAME, sha256(written)).body == written
    assert list(disagreements(fleet.stored)) == []


def test_a_patch_that_meets_the_closing_put_never_changes_a_verified_byte(fleet: _Fleet) -> None:
    one, other = fleet.pair()
    with closing(one), closing(other):
        for number in range(_ROUNDS):
            first, second = os.urandom(100_000), os.urandom(1000 + 20_000 * number)
            location = one.open_upload(_NAME)
            assert other.append(location, first).status == 202
            closed, appended = _at_once(
                [
                    partial(one.close_upload, location, sha256(first)),
                    partial(other.append, location, second),
                ]
            )
            if closed.status == 201:
                assert appended.status in (404, 416), appended
                assert other.blob(_NAME, sha256(first)).body == first
            elif closed.status == 400:  # the PATCH was first: the PUT's digest is not that of the whole, and ends it
                assert (closed.error, appended.status) == ("DIGEST_INVALID", 202)
                assert other.request("GET", location).status == 404
            else:
                assert (closed.status, appended.status) == (416, 202)
                assert one.blob(_NAME, sha256(first)).status == 404
                assert one.close_upload(location, sha256(first + second)).status == 201
                assert other.blob(_NAME, sha256(first + second)).body == first + second
    assert list(disagreements(fleet.stored)) == []
    assert unnamed(fleet.stored) == set()


def test_of_two_closing_puts_one_answers_201_and_the_blob_is_whole(fleet: _Fleet) -> None:
    one, other = fleet.pair()
    with closing(one), closing(other):
        for _ in range(_ROUNDS):
            pieces = [os.urandom(50_000), os.urandom(50_000)]
            whole = b"".join(pieces)
            location = one.open_upload(_NAME)
            for client, piece in zip((one, other), pieces, strict=True):
                assert client.append(location, piece).status == 202
            replies = _at_once([partial(client.close_upload, location, sha256(whole)) for client in (one, other)])
            statuses = sorted(reply.status for reply in replies)
            assert statuses[0] == 201
            assert statuses[1] in (404, 416)
            assert one.blob(_NAME, sha256(whole)).body == whole
    assert list(disagreements(fleet.stored)) == []
    assert unnamed(fleet.stored) == set()


class _Writers:
    """Writers that move one tag, each to images of its own, and readers that look at it all the while."""

    def __init__(self, fleet: _Fleet) -> None:
        self._fleet = fleet
        self._writing = threading.Event()
        self.layer = os.urandom(1000)
        self.seen: list[list[str]] = []
        """What each reader saw, in order; and what each writer saw at the other process after each of its moves."""

    def run(self) -> None:
        """Until the last move is done."""
        clients = self._fleet.clients(_READERS + 2 * _WRITERS)
        self._push(clients[0], "the first of all")
        self._writing.set()
        readers = [threading.Thread(target=self._read, args=(client,)) for client in clients[:_READERS]]
        for reader in readers:
            reader.start()
        own, others = clients[_READERS : _READERS + _WRITERS], clients[-1 : -1 - _WRITERS : -1]
        try:
            _at_once([partial(self._write, *pair) for pair in zip(range(_WRITERS), own, others, strict=True)])
        finally:
            self._writing.clear()
            for reader in readers:
                reader.join()
            for client in clients:
                client.close()

    def _push(self, client: Client, note: str) -> str:
        image = an_image(self.layer, note=note)
        for blob in image.blobs:
            client.push_blob(_NAME, blob)
        assert client.put_manifest(_NAME, "moving", image.manifest).status == 201
        return image.digest

    def _write(self, number: int, own: Client, other: Client) -> None:
        assert own.worker != other.worker
        for move in range(_MOVES):
            written = self._push(own, f"writer {number}, move {move}")
            assert other.manifest(_NAME, written).status == 200
            self.seen.append([written, self._look(other)])

    def _read(self, client: Client) -> None:
        seen: list[str] = []
        self.seen.append(seen)
        while self._writing.is_set():
            seen.append(self._look(client))

    def _look(self, client: Client) -> str:
        reply = client.manifest(_NAME, "moving")
        if reply.status != 200:
            return f"{reply.status}"
        assert sha256(reply.body) == reply.headers["Docker-Content-Digest"]
        return sha256(reply.body)


def test_a_tag_moved_by_many_writers_is_always_a_written_digest_and_no_reader_sees_it_go_back(fleet: _Fleet) -> None:
    writers = _Writers(fleet)
    writers.run()
    moves = fleet.stored.rows("SELECT new FROM changes WHERE kind = 'tag.move' AND tag = 'moving' ORDER BY id")
    places = {digest: place for place, (digest,) in enumerate(moves)}
    assert len(places) == len(moves) == 1 + _WRITERS * _MOVES
    assert sum(map(len, writers.seen)) > 2 * _WRITERS * _MOVES, "the readers have seen something"
    for seen in writers.seen:
        assert set(seen) <= set(places), "each time a digest that was written"
        for before, after in pairwise(seen):
            assert places[before] <= places[after]
    times = [at for (at,) in fleet.stored.rows("SELECT at FROM changes WHERE tag = 'moving' ORDER BY id")]
    assert all(before < after for before, after in pairwise(times))


def test_what_one_process_has_acknowledged_the_other_answers_at_once(fleet: _Fleet) -> None:
    one, other = fleet.pair()
    with closing(one), closing(other):
        for number in range(4 * _ROUNDS):
            writer, reader = (one, other) if number % 2 else (other, one)
            image = an_image(os.urandom(100), note=f"{number}")
            tag, path = f"v{number}", f"/v2/{_NAME}/manifests/v{number}"
            assert reader.request("GET", path).status == 404
            writer.push_image(_NAME, tag, image)
            reader.assert_pulls(_NAME, tag, image)
            assert f'"{tag}"'.encode() in reader.request("GET", f"/v2/{_NAME}/tags/list").body
            assert writer.request("DELETE", path).status == 202
            assert reader.request("GET", path).status == 404
            assert reader.manifest(_NAME, image.digest).status == 200
            assert reader.request("DELETE", f"/v2/{_NAME}/manifests/{image.digest}").status == 202
            assert writer.manifest(_NAME, image.digest).status == 404
            assert reader.request("DELETE", f"/v2/{_NAME}/blobs/{sha256(image.blobs[1])}").status == 202
            assert writer.blob(_NAME, sha256(image.blobs[1])).status == 404


def test_an_upload_goes_on_at_whichever_process_is_asked(fleet: _Fleet) -> None:
    one, other = fleet.pair()
    with closing(one), closing(other):
        pieces = [os.urandom(70_000) for _ in range(4)]
        location, offset = one.open_upload(_NAME), 0
        for client, piece in zip((other, one, one, other), pieces, strict=True):
            reply: Reply = client.append(location, piece, offset)
            offset += len(piece)
            assert (reply.status, reply.offset) == (202, offset)
            for asked in (one, other):
                assert asked.request("GET", location).offset == offset
        whole = b"".join(pieces)
        assert one.close_upload(location, sha256(whole)).status == 201
        assert other.blob(_NAME, sha256(whole)).body == whole


def test_an_upload_goes_on_at_the_other_node_when_the_first_is_killed(
    tmp_path: Path, postgres_url: str, bucket: Bucket
) -> None:
    settings = shared_settings(postgres_url, bucket)
    first, second = os.urandom(70_000), os.urandom(8_000_000)
    with Node(tmp_path / "one", settings=settings) as one, Node(tmp_path / "other", settings=settings) as other:
        with Client(one.address) as client:
            location = client.open_upload(_NAME)
            assert client.append(location, first).status == 202
        one.kill()
        with Client(other.address) as client:
            assert client.request("GET", location).offset == len(first)
            assert client.append(location, second, len(first)).status == 202
            assert client.close_upload(location, sha256(first + second)).status == 201
            assert client.blob(_NAME, sha256(first + second)).body == first + second
