"""SIGKILL proves nothing about power: here the order of the system calls does. A 201 is sent only when the bytes, the
directories that name them and the row have reached the disk, in that order."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from entrepot.storage import layout
from tests.crash.syscalls import STRACE, Call, Trace, why_lost
from tests.support.client import Client, Reply, an_image, sha256
from tests.support.node import Node
from tests.support.services import require_tools
from tests.support.stored import StoredFiles

_NAME = "durable/app"
_LARGE = 5 * 1024 * 1024  # bytes: more than is written and synced in the ordinary way


class _Counting(Client):
    """A client that knows how many answers the server has given."""

    answers = 0

    def request(self, *arguments: object, **options: object) -> Reply:
        """See Client."""
        reply = super().request(*arguments, **options)  # type: ignore[arg-type]  # passed on as they came
        self.answers += 1
        return reply


def _at_once(client: Client, content: bytes) -> Reply:
    return client.push_at_once(_NAME, content)


def _in_the_closing_request(client: Client, content: bytes) -> Reply:
    return client.close_upload(client.open_upload(_NAME), sha256(content), content)


def _in_one_body(client: Client, content: bytes) -> Reply:
    location = client.open_upload(_NAME)
    client.append(location, content)
    return client.close_upload(location, sha256(content))


def _in_several_bodies(client: Client, content: bytes) -> Reply:
    location = client.open_upload(_NAME)
    for start in (0, 1000, 2000):
        client.append(location, content[start : start + 1000], start)
    return client.close_upload(location, sha256(content), content[3000:])


_BLOBS: dict[str, tuple[Callable[[Client, bytes], Reply], bytes]] = {
    "the first blob of all": (_at_once, os.urandom(3000)),
    "a blob in one POST": (_at_once, os.urandom(2500)),
    "a large blob in one POST": (_at_once, os.urandom(_LARGE)),
    "POST and PUT": (_in_the_closing_request, os.urandom(2300)),
    "POST, PATCH and PUT": (_in_one_body, os.urandom(2200)),
    "POST, a large PATCH and PUT": (_in_one_body, os.urandom(_LARGE + 1)),
    "several PATCHes and a PUT with the rest": (_in_several_bodies, os.urandom(3500)),
    "an empty blob": (_in_the_closing_request, b""),
}
_ROWS = (
    "a blob that is there already",
    "a mount",
    "a manifest by tag",
    "a manifest by digest with tags",
    "a tag moved",
)


class _Recorded:
    """What one worker asked the kernel while a client pushed in every way, one after another."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "made by the server" / "data"
        self._answers: dict[str, int] = {}
        trace = directory / "trace"
        (directory / "made by the server").mkdir()  # for the log beside the data directory
        node = Node(self.data, workers=1, wrapper=[*STRACE, "-o", str(trace)])
        with node, _Counting(node.address) as client:
            for title, (push, content) in _BLOBS.items():
                self._note(title, client, push(client, content))
            self._push_rows(client)
            client.request("GET", "/livez")  # strace has written down all that was answered before
            self._keys: dict[str, str] = dict(StoredFiles(self.data).rows("SELECT digest, key FROM blobs"))
        self.trace = Trace.read(trace)

    def _push_rows(self, client: _Counting) -> None:
        layer = _BLOBS["POST and PUT"][1]
        image, other = an_image(layer), an_image(layer, note="other")
        for config in (image.blobs[0], other.blobs[0]):
            client.push_blob(_NAME, config)
        self._note(_ROWS[0], client, client.push_at_once(_NAME, layer))
        mount = f"/v2/durable/other/blobs/uploads/?mount={sha256(layer)}&from={_NAME}"
        self._note(_ROWS[1], client, client.request("POST", mount))
        self._note(_ROWS[2], client, client.put_manifest(_NAME, "v1", image.manifest))
        self._note(_ROWS[3], client, client.put_manifest(_NAME, other.digest, other.manifest, ("v2", "v3")))
        self._note(_ROWS[4], client, client.put_manifest(_NAME, "v1", other.manifest))

    def _note(self, title: str, client: _Counting, reply: Reply) -> None:
        assert reply.status == 201, (title, reply)
        self._answers[title] = client.answers - 1

    def file(self, content: bytes) -> str:
        """Where a blob's bytes are."""
        return str(self.data / layout.file_path(self._keys[sha256(content)]))

    def answer(self, title: str) -> tuple[int, Call]:
        """When the answer before this one ended, and this one: a 201."""
        answers = self.trace.answers()
        before, answer = answers[self._answers[title] - 1], answers[self._answers[title]]
        assert answer.text.startswith("HTTP/1.1 201"), answer
        return before.ended if self._answers[title] else 0, answer


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> _Recorded:
    require_tools("strace")
    return _Recorded(tmp_path_factory.mktemp("durability"))


@pytest.mark.parametrize("title", _BLOBS)
def test_a_blob_and_every_directory_that_names_it_are_synced_before_its_201(recorded: _Recorded, title: str) -> None:
    since, answer = recorded.answer(title)
    lacking = why_lost(recorded.trace, recorded.file(_BLOBS[title][1]), answer)
    assert not lacking, _shown(recorded, since, answer, lacking)


@pytest.mark.parametrize("title", _BLOBS)
def test_a_blobs_row_is_written_after_its_bytes_are_durable_and_synced_before_its_201(
    recorded: _Recorded, title: str
) -> None:
    since, answer = recorded.answer(title)
    file = recorded.file(_BLOBS[title][1])
    written = max((call.ended for call in recorded.trace.writes(file)), default=since)
    directory = recorded.trace.synced(os.path.dirname(file), written, answer.begun)
    assert directory is not None
    _assert_row_is_durable(recorded, directory.ended, since, answer)


@pytest.mark.parametrize("title", _ROWS)
def test_a_change_of_rows_alone_is_synced_before_its_201(recorded: _Recorded, title: str) -> None:
    since, answer = recorded.answer(title)
    _assert_row_is_durable(recorded, since, since, answer)


def test_the_database_itself_survives_the_power_cut_that_follows_the_first_201(recorded: _Recorded) -> None:
    since, answer = recorded.answer("the first blob of all")
    for file in (layout.database_file(recorded.data), Path(f"{layout.database_file(recorded.data)}-wal")):
        lacking = why_lost(recorded.trace, str(file), answer)
        assert not lacking, _shown(recorded, since, answer, lacking)


def _assert_row_is_durable(recorded: _Recorded, after: int, since: int, answer: Call) -> None:
    """The database's log is written between `after` and the answer, and synced after that and before the answer."""
    log = f"{layout.database_file(recorded.data)}-wal"
    rows = [call for call in recorded.trace.writes(log) if after < call.begun < answer.begun]
    assert rows, _shown(recorded, since, answer, ["no row is written once the bytes are durable"])
    synced = recorded.trace.synced(log, rows[-1].ended, answer.begun)
    assert synced is not None, _shown(recorded, since, answer, [f"{log} is not synced after its last write"])


def _shown(recorded: _Recorded, since: int, answer: Call, lacking: list[str]) -> str:
    """Only for people: what is wrong, and what was asked of the kernel since the answer before."""
    calls = recorded.trace.excerpt(since, answer.ended, str(recorded.data.parent))
    return "\n".join([*lacking, "what was done:", calls])


_TRACE = """\
7 mkdir("/d/blobs/01", 0777) = 0
7 openat(AT_FDCWD</x>, "/d/blobs/01/key", O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0640) = 9</d/blobs/01/key>
7 write(9</d/blobs/01/key>, "content", 7) = 7
8 fdatasync(9</d/blobs/01/key> <unfinished ...>
7 sendto(5<socket:[1]>, "HTTP/1.1 201 Created\\r\\n", 400, 0, NULL, 0) = 400
8 <... fdatasync resumed>) = 0
8 fsync(6</d/blobs/01>) = -1 EIO (Input/output error)
8 fsync(6</d/blobs>) = 0
"""


def test_a_sync_that_ends_after_the_answer_or_fails_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(_TRACE)
    trace = Trace.read(tmp_path / "trace")
    (answer,) = trace.answers()
    assert why_lost(trace, "/d/blobs/01/key", answer) == [
        "/d/blobs/01/key is not synced between its last write and the answer",
        "/d/blobs/01 is not synced between create of /d/blobs/01/key and the answer",
        "/d/blobs is not synced between mkdir of /d/blobs/01 and the answer",
    ]
