"""Registries with accounts: Entrepot's hub, one with Redis beside it, and distribution with token auth of its own."""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from bench.entrepot import Entrepot
from bench.servers import REPOSITORY, Distribution
from entrepot.access.actor import Actor
from entrepot.access.credentials import NewSecret, Secrets
from entrepot.access.keys import derive
from entrepot.access.tokens import Access, SigningKeys, Tokens
from entrepot.database.engine import Transaction
from entrepot.database.sqlite import SqliteEngine
from entrepot.storage import layout

PASSWORD = "bench password"
LIMIT = 10_000_000  # pulls of the caller: finite, so that each is counted
_PULL = f"repository:{REPOSITORY}:pull"
_PERSONAL = (
    "INSERT INTO credentials (account_id, kind, label, lookup, hash, scopes, created_at)"
    " SELECT a.id, 'personal', 'bench', :lookup, :hash, :scopes, now_us() FROM accounts a WHERE a.name = 'admin'"
)


class EntrepotHub(Entrepot):
    """With accounts: every request has a bearer token, and the caller a finite limit."""

    key = "entrepot-hub"
    name = "entrepot, accounts"
    workers = 2

    def command(self) -> list[str]:
        """`entrepot serve`, not open."""
        command = super().command()
        command.remove("--open")
        command[command.index("--workers") + 1] = str(self.workers)
        return command

    def environment(self) -> Mapping[str, str]:
        """A limit for accounts, and the password of `admin`."""
        return {
            **super().environment(),
            "ENTREPOT_ADMIN_PASSWORD": PASSWORD,
            "ENTREPOT_LIMITS__PULLS__ACCOUNT": str(LIMIT),
        }

    def start(self) -> Self:
        """Start it, and make the organization that the benchmark's repositories belong to."""
        super().start()
        body = json.dumps({"name": REPOSITORY.partition("/")[0]}).encode()
        request = urllib.request.Request(f"{self.endpoint.url}/api/v1/organizations", body)
        request.add_header("Authorization", basic(PASSWORD))
        request.add_header("Content-Type", "application/json")
        with contextlib.suppress(urllib.error.HTTPError):  # it is there from the last start
            urllib.request.urlopen(request).close()
        return self

    def is_ready(self) -> bool:
        """Whether it has said so."""
        return b"entrepot: ready" in (self.directory / "log").read_bytes()

    def authorization(self) -> str:
        """A token for pulling, good for five minutes: more than a row takes."""
        return f"Bearer {self._token(PASSWORD)}"

    def push_authorization(self) -> str:
        """Basic: what is pushed is not measured."""
        return basic(PASSWORD)

    def personal_token(self) -> str:
        """A personal access token of `admin`."""
        data = self.directory / "data"
        made = Secrets(derive(layout.secret_file(data).read_bytes(), "credentials")).make("personal")
        asyncio.run(_store(data, made))
        return made.text

    def _token(self, secret: str) -> str:
        request = urllib.request.Request(f"{self.endpoint.url}/token?scope={_PULL}")
        request.add_header("Authorization", basic(secret))
        with urllib.request.urlopen(request) as answer:
            return str(json.load(answer)["token"])


class EntrepotHubOne(EntrepotHub):
    """The same with one worker."""

    key = "entrepot-hub-1"
    name = "entrepot, accounts, 1 worker"
    workers = 1


class EntrepotOne(Entrepot):
    """Open, with one worker."""

    key = "entrepot-1"
    name = "entrepot, 1 worker"

    def command(self) -> list[str]:
        """With one worker."""
        command = super().command()
        command[command.index("--workers") + 1] = "1"
        return command


class EntrepotHubRedis(EntrepotHub):
    """With Redis counting pulls, as for several nodes."""

    key = "entrepot-hub-redis"
    name = "entrepot, accounts, Redis"
    install = "tests/support/install-tools apt"

    @classmethod
    def find(cls) -> Path | None:
        """The program, where Redis is there too."""
        return super().find() if shutil.which("redis-server") else None

    def start(self) -> Self:
        """Redis first."""
        self.directory.mkdir(parents=True, exist_ok=True)
        options = ["--port", str(self.port + 1), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._redis = subprocess.Popen(
            ["redis-server", *options, "--dir", str(self.directory)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return super().start()

    def stop(self) -> None:
        """Both."""
        super().stop()
        self._redis.terminate()
        self._redis.wait()

    def environment(self) -> Mapping[str, str]:
        """Where Redis is."""
        return {**super().environment(), "ENTREPOT_REDIS__URL": f"redis://127.0.0.1:{self.port + 1}/0"}


class DistributionTokens(Distribution):
    """distribution, which asks for a token of a service that it trusts."""

    key = "distribution-tokens"
    name = "distribution 3.1.2, tokens"

    def command(self) -> list[str]:
        """With `auth.token`, and the key that signs here."""
        keys = SigningKeys(bytes(32))
        self._tokens = Tokens(keys, "bench")
        (self.directory / "jwks.json").write_text(json.dumps(keys.published()))
        command = super().command()
        with (self.directory / "config.yml").open("a") as configuration:
            configuration.write(
                "auth:\n  token:\n    realm: http://127.0.0.1/token\n    service: bench\n    issuer: bench\n"
                f"    jwks: {self.directory}/jwks.json\n"
            )
        return command

    def is_ready(self) -> bool:
        """Whether it answers, if only by a challenge."""
        try:
            urllib.request.urlopen(f"{self.endpoint.url}/v2/").close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return answer.code == 401
        except OSError:
            return False
        return True

    def authorization(self) -> str:
        """A token for pulling and pushing."""
        access = Access(frozenset({"pull", "push"}), 0, 0)
        return f"Bearer {self._tokens.issue(Actor(1, 'bench'), {REPOSITORY: access}, audience='bench')[0]}"

    def push_authorization(self) -> str:
        """The same."""
        return self.authorization()


def basic(secret: str) -> str:
    return f"Basic {base64.b64encode(f'admin:{secret}'.encode()).decode()}"


async def _store(data: Path, made: NewSecret) -> None:
    engine = SqliteEngine(layout.database_file(data), layout.lock_file(data))

    async def add(transaction: Transaction) -> None:
        scopes = json.dumps({"role": "admin"})
        await transaction.run(_PERSONAL, lookup=made.lookup, hash=made.hash, scopes=scopes)

    await engine.write(add, durable=True)
    await engine.close()
