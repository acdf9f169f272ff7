"""Where the login to another registry comes from: the configuration, a file, or a docker-credential helper."""

import asyncio
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from entrepot.client.errors import NoLogin
from entrepot.client.tokens import Login

HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a helper may be called: `docker-credential-NAME` is looked for in PATH, and nowhere else."""

_HELPER_SECONDS = 10.0  # for its answer: whoever asked for an image waits
_KEPT_SECONDS = 600.0  # ECR's logins hold for twelve hours, Google's for one
_AGAIN_SECONDS = 10.0  # at the least, between two runs for a login that is refused
_LARGEST = 64 * 1024  # bytes of a helper's answer


class Logins(Protocol):
    """Gives the login, as it is now."""

    async def get(self) -> Login | None:
        """The login; None for anybody. NoLogin."""
        ...

    def refused(self) -> None:
        """What `get` gave was not accepted."""
        ...


class Static(NamedTuple):
    """One that stays the same; None for anybody."""

    login: Login | None

    async def get(self) -> Login | None:
        """See Logins."""
        return self.login

    def refused(self) -> None:
        """See Logins."""


NOBODY = Static(None)


class InFile(NamedTuple):
    """A password in a file, which is read anew each time, as such passwords change while the server runs."""

    user: str
    path: Path

    async def get(self) -> Login | None:
        """See Logins."""
        try:
            return Login(self.user, self.path.read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise NoLogin(f"the password file {self.path} cannot be read: {reason}") from None

    def refused(self) -> None:
        """See Logins."""


class Unreadable(NamedTuple):
    """A login that stands in the configuration and cannot be read."""

    reason: str

    async def get(self) -> Login | None:
        """See Logins."""
        raise NoLogin(self.reason)

    def refused(self) -> None:
        """See Logins."""


class Helper:
    """A program that knows the login, as Docker's `credHelpers` name it (docker/docker-credential-helpers: `get` as its
    argument, the server on standard input, JSON on standard output). Its answer is kept for ten minutes."""

    def __init__(self, name: str, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`name` is from the server's own configuration, never from outside; `server` is what it is asked for."""
        if not HELPER.fullmatch(name):
            raise ValueError("it is what follows docker-credential- in a program's name")
        self._program = f"docker-credential-{name}"
        self._server = server
        self._clock = clock
        self._login: Login | None = None
        self._asked = -_KEPT_SECONDS
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> Login | None:
        """See Logins. Those who ask at the same time wait for one run."""
        async with self._lock:
            if self._login is None or self._clock() >= self._until:
                self._login = await self._run()
                self._asked = self._clock()
                self._until = self._asked + _KEPT_SECONDS
            return self._login

    def refused(self) -> None:
        """See Logins: ask the helper again, but not for each request."""
        self._until = min(self._until, self._asked + _AGAIN_SECONDS)

    async def _run(self) -> Login:
        answer, status = await self._answer()
        said = answer[:_LARGEST].decode("utf-8", "replace")
        if status:
            raise NoLogin(f"{self._program} gives no login for {self._server}: {_shown(said)}")
        try:
            document = json.loads(said)
            user, secret = document["Username"], document["Secret"]
            if not isinstance(user, str) or not isinstance(secret, str):
                raise TypeError(user)
        except (ValueError, KeyError, TypeError):
            raise NoLogin(f"{self._program} does not answer as a docker-credential helper does") from None
        return Login(user, secret)

    async def _answer(self) -> tuple[bytes, int]:
        ours = ("ENTREPOT_", "REGISTRY_")  # our own secrets are none of its business
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                self._program, "get", stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env=environment
            )
        except OSError as error:
            raise NoLogin(f"{self._program} cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(_HELPER_SECONDS):
                answer, _ = await process.communicate(self._server.encode() + b"\n")
        except TimeoutError:
            raise NoLogin(f"{self._program} does not answer") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return answer, process.returncode or 0


def _shown(said: str) -> str:
    """An error as helpers print it, in one line."""
    return "".join(character for character in said.strip() if character.isprintable())[:200]
