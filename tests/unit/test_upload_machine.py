"""The upload session as a state machine: any order of requests on two workers, against a model of a few lines.

The use-cases, the rows (SQLite) and the directory are the real ones; a restart loses what only memory held, and a power
cut takes the end of a body whose 202 promised no sync.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from entrepot.access.caller import Caller
from entrepot.access.grant import EVERYTHING
from entrepot.database.blobs import DatabaseBlobs
from entrepot.database.cache import ReadCache
from entrepot.database.migrate import migrate_sqlite
from entrepot.database.sqlite import SqliteEngine
from entrepot.database.uploads import DatabaseUploads
from entrepot.jobs.uploads import UploadCleaning
from entrepot.oci.digest import Digest
from entrepot.registry.errors import (
    BodyInterrupted,
    BodyTimedOut,
    DigestInvalid,
    RegistryError,
    SizeInvalid,
    UploadOutOfOrder,
    UploadUnknown,
)
from entrepot.registry.uploads import Incoming, Span, Uploads
from entrepot.storage import layout
from entrepot.storage.filesystem import FileStore

T = TypeVar("T")
CALLER = Caller()
REPOSITORIES = st.sampled_from(["a", "b"])
WORKERS = st.sampled_from([0, 0, 1])
SLOTS = st.integers(0, 1)  # few sessions, so that each sees many requests
ALGORITHMS = st.sampled_from(["sha256", "sha512"])
CHUNKS = st.lists(st.sampled_from([b"a", b"b", b"cc"]), max_size=2)
ENDINGS = st.sampled_from(["whole", "whole", "gone", "silent"])
PLACES = st.sampled_from(["none", "right", "early", "late", "longer", "shorter"])


@cache
def empty_database() -> bytes:
    """A migrated database, made once."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty"
        migrate_sqlite(path)
        return path.read_bytes()


@dataclass
class Session:
    """What the model knows of a session: its bodies, in order."""

    repository: str
    id: str
    bodies: list[bytes] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        return b"".join(self.bodies)


@dataclass
class Body:
    """A request's body: what it says of itself and what arrives."""

    chunks: list[bytes]
    place: str
    ending: str
    announced: bool

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)

    def span(self, offset: int) -> Span | None:
        """The Content-Range for a session of this size; an empty body has none."""
        size = len(self.content)
        shift = {"early": -1, "late": 1}.get(self.place, 0)
        length = size + {"longer": 1, "shorter": -1}.get(self.place, 0)
        return (
            None
            if self.place == "none" or size == 0 or length < 1 or offset + shift < 0
            else Span(offset + shift, length)
        )

    def incoming(self, offset: int) -> Incoming:
        """The body as the use-case gets it; one that is cut was announced a byte longer."""
        size = len(self.content) + (self.ending != "whole")
        span = self.span(offset)
        if span is not None and self.ending != "whole":
            span = Span(span.start, span.length + 1)
        return Incoming(self._arriving(), size if self.announced else None, span)

    async def _arriving(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk
        if self.ending != "whole":
            raise BodyInterrupted(timed_out=self.ending == "silent")


PLAIN = st.builds(Body, CHUNKS, st.just("none"), ENDINGS, st.booleans())
BODIES = st.one_of(PLAIN, st.builds(Body, CHUNKS, PLACES, ENDINGS, st.booleans()))


class UploadMachine(RuleBasedStateMachine):
    """Requests in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="entrepot-uploads-"))
        layout.database_file(self.directory).write_bytes(empty_database())
        self.runner = asyncio.Runner()
        self.stored: dict[tuple[str, str], bytes] = {}
        self.begin()
        self.over: list[Session] = []
        self.sessions = [self.opened("a", 0, None), self.opened("b", 1, None)]

    def begin(self) -> None:
        """Start: one engine and one store for both workers, as on one machine; memory of their own."""
        self.engine = SqliteEngine(layout.database_file(self.directory), layout.lock_file(self.directory))
        self.store = FileStore(self.directory)
        self.run(self.store.start())
        self.rows = DatabaseUploads(self.engine)
        self.blobs = DatabaseBlobs(self.engine, ReadCache(self.engine), 86400)
        self.workers = [Uploads(self.rows, self.blobs, self.store, 3600) for _ in range(2)]

    def end(self) -> None:
        """Stop."""
        self.run(self.store.close())
        self.run(self.engine.close())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end."""
        return self.runner.run(work)

    def refused(self, error: type[Exception] | tuple[type[Exception], ...], work: Coroutine[Any, Any, T]) -> Exception:
        """Run what must be refused."""
        with pytest.raises(error) as caught:
            self.run(work)
        return caught.value

    def ended(self, slot: int) -> None:
        """The session is over for the model too; another takes its place, so that most requests find one open."""
        self.over.append(self.sessions[slot])
        algorithm = (None, "sha256", "sha512")[len(self.over) % 3]
        self.sessions[slot] = self.opened(self.over[-1].repository, slot, algorithm)

    def opened(self, repository: str, worker: int, algorithm: str | None) -> Session:
        """A new session."""
        return Session(repository, self.run(self.workers[worker].open(repository, algorithm, CALLER)))

    @rule(slot=SLOTS, worker=WORKERS, repository=REPOSITORIES, data=st.data())
    def something_else(self, slot: int, worker: int, repository: str, data: st.DataObject) -> None:
        """All that is not the sending of bodies to a session, as one rule: so most steps are appends and closes."""
        match data.draw(
            st.sampled_from(["status", "cancel", "other", "over", "at once", "mount", "restart", "cut", "trash"])
        ):
            case "status":
                self.status(slot, worker)
            case "cancel":
                self.cancel(slot, worker)
            case "other":
                session = self.sessions[slot]
                self.unknown(session, "b" if session.repository == "a" else "a", worker, data.draw(BODIES))
            case "over" if self.over:
                session = data.draw(st.sampled_from(self.over))
                self.unknown(session, session.repository, worker, data.draw(BODIES))
            case "at once":
                self.push_at_once(repository, worker, data)
            case "mount":
                self.mount(repository, data.draw(st.none() | REPOSITORIES), worker, data)
            case "restart":
                self.end()
                self.begin()
            case "cut":
                self.lose_the_end_of_a_body(slot, data)
            case _:
                self.empty_trash()

    @rule(slot=SLOTS, worker=WORKERS, body=BODIES)
    def append(self, slot: int, worker: int, body: Body) -> None:
        session = self.sessions[slot]
        before = len(session.content)
        incoming = body.incoming(before)
        work = self.workers[worker].append(session.repository, session.id, incoming)
        if self.turned_away(session, body, incoming, work):
            return
        if body.content:
            session.bodies.append(body.content)
        if body.ending == "whole":
            assert self.run(work) == len(session.content)
        else:
            self.cut(session, body, work)

    @rule(slot=SLOTS, worker=WORKERS, body=BODIES, algorithm=ALGORITHMS, right=st.sampled_from([True, True, False]))
    def close(self, slot: int, worker: int, body: Body, algorithm: str, right: bool) -> None:
        session = self.sessions[slot]
        content = session.content + body.content
        digest = Digest.of(content if right else content + b"!", algorithm)
        incoming = body.incoming(len(session.content))
        work = self.workers[worker].close(session.repository, session.id, digest, incoming, CALLER)
        if self.turned_away(session, body, incoming, work):
            return
        if body.ending != "whole":
            if body.content:
                session.bodies.append(body.content)
            self.cut(session, body, work)
            return
        if right:
            self.run(work)
            self.stored[session.repository, str(digest)] = content
        else:
            self.refused(DigestInvalid, work)
        self.ended(slot)

    def turned_away(self, session: Session, body: Body, incoming: Incoming, work: Coroutine[Any, Any, object]) -> bool:
        """Whether the model says that this body does not join; then it was refused, and rightly."""
        offset = len(session.content)
        span = incoming.span
        if span is None or (span.start == offset and span.length == len(body.content) + (body.ending != "whole")):
            return False
        if span.start != offset or incoming.length is not None:
            error = self.refused(UploadOutOfOrder, work)
            assert isinstance(error, UploadOutOfOrder)
            assert error.offset == offset
            return True
        if body.ending == "whole":
            self.refused(SizeInvalid, work)
            return True
        return False

    def cut(self, session: Session, body: Body, work: Coroutine[Any, Any, object]) -> None:
        """A body whose client went away or fell silent; what arrived has joined."""
        error = self.refused((BodyInterrupted, BodyTimedOut), work)
        assert isinstance(error, BodyTimedOut) == (body.ending == "silent")
        if isinstance(error, BodyTimedOut):
            assert error.offset == len(session.content)

    def status(self, slot: int, worker: int) -> None:
        session = self.sessions[slot]
        assert self.run(self.workers[worker].status(session.repository, session.id)) == len(session.content)

    def cancel(self, slot: int, worker: int) -> None:
        session = self.sessions[slot]
        self.run(self.workers[worker].cancel(session.repository, session.id))
        self.ended(slot)

    def unknown(self, session: Session, repository: str, worker: int, body: Body) -> None:
        """Nothing can be done to this session: it has ended, or belongs to another repository."""
        uploads, digest = self.workers[worker], Digest.of(session.content + body.content)
        self.refused(UploadUnknown, uploads.status(repository, session.id))
        self.refused(UploadUnknown, uploads.cancel(repository, session.id))
        self.refused(UploadUnknown, uploads.append(repository, session.id, body.incoming(len(session.content))))
        self.refused(UploadUnknown, uploads.close(repository, session.id, digest, body.incoming(0), CALLER))

    def push_at_once(self, repository: str, worker: int, data: st.DataObject) -> None:
        body, algorithm, right = data.draw(BODIES), data.draw(ALGORITHMS), data.draw(st.booleans())
        digest = Digest.of(body.content + (b"" if right else b"!"), algorithm)
        incoming = Incoming(body._arriving())
        work = self.workers[worker].push_at_once(repository, digest, incoming, CALLER)
        if body.ending == "whole" and right:
            self.run(work)
            self.stored[repository, str(digest)] = body.content
        else:
            self.refused((RegistryError, BodyInterrupted), work)

    def mount(self, repository: str, source: str | None, worker: int, data: st.DataObject) -> None:
        known = sorted({digest for _, digest in self.stored}) or [str(Digest.of(b"absent"))]
        digest = data.draw(st.sampled_from(known))
        places = [where for where, each in self.stored if each == digest]
        mounted = self.run(self.workers[worker].mount(repository, Digest.parse(digest), source, CALLER, EVERYTHING))
        assert mounted == (source in places if source else bool(places))
        if mounted:
            self.stored[repository, digest] = self.stored[places[0], digest]

    def lose_the_end_of_a_body(self, slot: int, data: st.DataObject) -> None:
        """The directory's server lost its power; the workers went on."""
        session = self.sessions[slot]
        if not session.bodies:
            return
        place = data.draw(st.integers(0, len(session.bodies) - 1))
        bodies = self.run(self.rows.upload_bodies(session.id))
        os.truncate(self.store.path(bodies[place].key), bodies[place].size - 1)
        del session.bodies[place:]

    def empty_trash(self) -> None:
        self.run(UploadCleaning(self.rows, {self.store.name: self.store}).empty_trash())

    @invariant()
    def every_blob_is_what_its_digest_says(self) -> None:
        for (repository, digest), content in self.stored.items():
            blob = self.run(self.blobs.find_blob(repository, digest))
            assert blob is not None
            assert (self.directory / layout.file_path(blob.key)).read_bytes() == content

    def teardown(self) -> None:
        """With every session cancelled and the trash empty, only the blobs are left."""
        try:
            self.leave_nothing()
        finally:
            self.end()
            self.runner.close()
            shutil.rmtree(self.directory)

    def leave_nothing(self) -> None:
        ids = self.run(
            self.engine.read("SELECT u.id, r.name FROM uploads u JOIN repositories r ON r.id = u.repository_id")
        )
        for upload, repository in ids:
            self.run(self.workers[0].cancel(repository, upload))
        self.empty_trash()
        left = [path for path in layout.blobs_directory(self.directory).rglob("*") if path.is_file()]
        assert sorted(path.read_bytes() for path in left) == sorted(
            {digest: content for (_, digest), content in self.stored.items()}.values()
        )


UploadMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
TestUploadMachine = UploadMachine.TestCase
