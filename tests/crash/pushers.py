"""Clients that push small images in every way there is, remember what was acknowledged, and go on after a crash."""

import http.client
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.client import Client, an_image, sha256

WAYS = ("at once", "one body", "stream", "chunks", "coded", "mount")
SHARED = [bytes([number]) * 3000 for number in range(4)]
"""Layers that all clients push: the server stores each of them once."""
_LAYER = 60_000  # bytes, at most
_CHUNK = 20_000


@dataclass
class Tag:
    """A tag that one client moves: the digest it was last acknowledged for, and the one that is on its way."""

    acknowledged: str = ""
    sent: str = ""


@dataclass
class Ledger:
    """What the server has answered with 201, and so must never lose."""

    blobs: list[tuple[str, bytes]] = field(default_factory=list)
    """(repository, content)"""
    manifests: list[tuple[str, bytes]] = field(default_factory=list)
    tags: dict[tuple[str, str], Tag] = field(default_factory=dict)
    """(repository, tag) → what it may name"""
    resumed: int = 0
    """Uploads that a crash found open and that went on after it."""
    image_pushed: threading.Event = field(default_factory=threading.Event)
    """Set after each manifest."""


class Stage:
    """Where the pushers meet the server: they push while it is open, and all of them rest while it is not."""

    def __init__(self, pushers: int) -> None:
        self._changed = threading.Condition()
        self._pushers = pushers
        self._resting = 0
        self._address = ""
        self._servers = 0
        self._over = False
        self.failures: list[BaseException] = []

    def open(self, address: str) -> None:
        """Let the pushers go on, at this server."""
        with self._changed:
            self._address = address
            self._servers += 1
            self._changed.notify_all()

    def wait_until_all_rest(self) -> None:
        """Return when every pusher has seen that the server is gone; raises what made a pusher stop."""
        with self._changed:
            self._address = ""
            assert self._changed.wait_for(lambda: self._resting == self._pushers, 120), "a pusher does not come back"
        if self.failures:
            raise self.failures[0]

    def end(self) -> None:
        """Let the pushers end."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def addresses(self) -> Iterator[str]:
        """The address of one server after another, until the end. Who asks for the next has lost the one before."""
        known = 0
        while True:
            with self._changed:
                self._resting += 1
                self._changed.notify_all()
                while not self._over and (not self._address or self._servers == known):
                    self._changed.wait()
                self._resting -= 1
                if self._over:
                    return
                address, known = self._address, self._servers
            yield address

    def failed(self, failure: BaseException) -> None:
        """A pusher has seen what must not be; it counts as resting from now on."""
        with self._changed:
            self.failures.append(failure)
            self._resting += 1
            self._changed.notify_all()


class Pusher(threading.Thread):
    """One client. It pushes images to a repository of its own until the stage ends."""

    def __init__(self, number: int, seed: int, stage: Stage, ledger: Ledger) -> None:
        super().__init__(name=f"pusher {number}", daemon=True)
        self._random = random.Random(f"{seed} {number}")
        self._stage = stage
        self._ledger = ledger
        self._repository = f"crash/client{number}"
        self._images = 0

    def run(self) -> None:
        """Push; what a crash has interrupted goes on at the next server."""
        try:
            unfinished: _Work | None = None
            for address in self._stage.addresses():
                client = Client(address)
                try:
                    while True:
                        work = unfinished or self._next_image()
                        unfinished = work
                        work.go_on(client)
                        unfinished = None
                except (OSError, http.client.HTTPException):
                    client.close()
        except BaseException as failure:
            self._stage.failed(failure)

    def _next_image(self) -> "_Work":
        self._images += 1
        own = [self._random.randbytes(self._random.randrange(2, _LAYER)) for _ in range(self._random.randrange(1, 3))]
        image = an_image(*own, self._random.choice(SHARED), note=f"{self._repository} {self._images}")
        blobs = [self._blob(content) for content in image.blobs]
        mountable = self._random.choice(self._ledger.blobs[-50:] or [None])
        if mountable is not None and mountable[0] != self._repository:
            blobs.append(_Blob(self._ledger, self._repository, mountable[1], "mount", source=mountable[0]))
        by_digest = self._random.random() < 0.5
        return _Work([*blobs, _Manifest(self._ledger, self._repository, image.manifest, f"v{self._images}", by_digest)])

    def _blob(self, content: bytes) -> "_Blob":
        return _Blob(self._ledger, self._repository, content, self._random.choice(WAYS[:-1]))


class _Work:
    """The pushes of one image, in order."""

    def __init__(self, pushes: "list[_Blob | _Manifest]") -> None:
        self._left = pushes

    def go_on(self, client: Client) -> None:
        """Do what is left."""
        while self._left:
            self._left[0].push(client)
            self._left.pop(0)


class _Manifest:
    """A manifest pushed under a tag of its own and the moving tag `latest`."""

    def __init__(self, ledger: Ledger, repository: str, content: bytes, tag: str, by_digest: bool) -> None:
        self._ledger = ledger
        self._repository = repository
        self._content = content
        self._tag = tag
        self._by_digest = by_digest

    def push(self, client: Client) -> None:
        """By digest with `?tag=` twice, or by each tag."""
        digest = sha256(self._content)
        pushes = [(digest, (self._tag, "latest"))] if self._by_digest else [(self._tag, ()), ("latest", ())]
        for reference, tags in pushes:
            moved = [self._ledger.tags.setdefault((self._repository, tag), Tag()) for tag in tags or (reference,)]
            for tag in moved:
                tag.sent = digest
            reply = client.put_manifest(self._repository, reference, self._content, tags)
            assert reply.status == 201, reply
            for tag in moved:
                tag.acknowledged = digest
        self._ledger.manifests.append((self._repository, self._content))
        self._ledger.image_pushed.set()


class _Blob:
    """A blob on its way: how far it came is known, so that a crash can come between any two requests."""

    def __init__(self, ledger: Ledger, repository: str, content: bytes, way: str, source: str = "") -> None:
        self._ledger = ledger
        self._repository = repository
        self._content = content
        self._digest = sha256(content)
        self._way = way
        self._source = source
        self._location = ""
        self._acknowledged = self._sent = 0
        self._closing = False

    def push(self, client: Client) -> None:
        """Push it, or go on with it; returns when it is acknowledged."""
        if self._location:
            if self._is_stored(client):
                return  # the 201 was lost on its way; nobody promised anything
        elif self._pushed_by_one_request(client):
            self._ledger.blobs.append((self._repository, self._content))
            return
        while self._acknowledged < self._last_body():
            self._append(client)
        self._closing, self._sent = True, len(self._content)
        reply = client.close_upload(self._location, self._digest, self._content[self._acknowledged :])
        assert reply.status == 201, (self._way, reply)
        self._ledger.blobs.append((self._repository, self._content))

    def _pushed_by_one_request(self, client: Client) -> bool:
        """Whether no session is needed; otherwise one is open now."""
        uploads = f"/v2/{self._repository}/blobs/uploads/"
        if self._way == "at once":
            reply = client.request("POST", f"{uploads}?digest={self._digest}", body=self._content)
            assert reply.status == 201, reply
            return True
        if self._way == "mount":
            reply = client.request("POST", f"{uploads}?mount={self._digest}&from={self._source}")
            assert reply.status == 201, ("what was acknowledged can be mounted", reply)
            return True
        self._location = client.open_upload(self._repository)
        return False

    def _is_stored(self, client: Client) -> bool:
        """Ask how far the session came before the crash: an acknowledged body is never lost."""
        reply = client.request("GET", self._location)
        if reply.status == 404:
            assert self._closing, ("a session that answered 202 is gone", reply)
            assert client.blob(self._repository, self._digest).body == self._content
            return True
        assert reply.status == 204, reply
        assert self._acknowledged <= reply.offset <= self._sent, (self._acknowledged, reply)
        self._acknowledged = reply.offset
        self._closing = False
        self._ledger.resumed += 1
        return False

    def _last_body(self) -> int:
        """Where the closing request's body starts."""
        match self._way:
            case "one body":
                return 0
            case "chunks":
                return max(len(self._content) - _CHUNK, 0)
            case _:
                return len(self._content)

    def _append(self, client: Client) -> None:
        end = self._acknowledged + _CHUNK if self._way == "chunks" else len(self._content)
        piece = self._content[self._acknowledged : end]
        self._sent = self._acknowledged + len(piece)
        if self._way == "coded":
            pieces = [piece[start : start + 4000] for start in range(0, len(piece), 4000)]
            reply = client.request("PATCH", self._location, body=pieces)
        else:
            reply = client.append(self._location, piece, self._acknowledged if self._way == "chunks" else None)
        assert (reply.status, reply.offset) == (202, self._sent), (self._way, reply)
        self._acknowledged = self._sent
