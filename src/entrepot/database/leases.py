"""Who of all nodes fetches what from upstreams: a row each, which lapses when its node renews it no more.

Nothing here is durable: after a power cut of the database nobody has a lease, and what was fetched goes on.
"""

from entrepot.database.engine import Engine, Row, Transaction
from entrepot.proxy.ports import Leader

_MICROSECONDS = 1_000_000
_FORGOTTEN = 3600 * _MICROSECONDS
# A row of this very node is left over: who asks has the node's own lock (storage/spools.py). That bytes were wrong is
# told to whoever has followed them: they do not take it over.
_TAKE = (
    "INSERT INTO leases (key, node, token, until, size, arrived)"
    " VALUES (:key, :node, :token, now_us() + :lease, :size, 0) ON CONFLICT (key) DO UPDATE SET"
    " node = excluded.node, token = excluded.token, until = excluded.until, size = excluded.size, arrived = 0,"
    " wrong = NULL WHERE (leases.until <= now_us() OR leases.node = excluded.node)"
    " AND (leases.wrong IS NULL OR leases.token <> :followed)"
)
_LOOK = "SELECT node, token, size, wrong FROM leases WHERE key = :key"
_RENEW = (
    "UPDATE leases SET until = now_us() + :lease, size = :size, arrived = :arrived WHERE key = :key AND token = :token"
)
_GIVE_UP = "UPDATE leases SET until = 0, wrong = :wrong WHERE key = :key AND token = :token"
_RELEASE = "DELETE FROM leases WHERE key = :key AND token = :token"
# The row of the repository is made, or locked, by whoever wants a manifest of it, so that they decide in turn.
_LOCK = (
    "INSERT INTO leases (key, node, token, until, size, arrived) VALUES (:key, :node, '', 0, -1, 0)"
    " ON CONFLICT (key) DO UPDATE SET size = leases.size RETURNING node <> :node AND until > now_us()"
)
# Names of repositories have no `@`, which is followed by `A`.
_ANY_OF_IT = "SELECT 1 FROM leases WHERE key > :first AND key < :end AND node <> :node AND until > now_us() LIMIT 1"
_FORGET = "DELETE FROM leases WHERE until <= now_us() - :age"


class DatabaseLeases:
    """The port LeaseRows of one node."""

    def __init__(self, engine: Engine, node: str, seconds: float) -> None:
        """`node`: where other nodes reach this one; `seconds`: how long a lease is, unless it is renewed."""
        self._engine = engine
        self._node = node
        self._lease = int(seconds * _MICROSECONDS)

    async def take(self, key: str, token: str, size: int, followed: str) -> Leader | None:
        """See the port."""

        async def try_it(transaction: Transaction) -> Row | None:
            if await self._take(transaction, key, token, size, followed):
                return ()
            return await transaction.one(_LOOK, key=key)

        while True:
            row = await self._engine.write(try_it, durable=False)
            if row is not None:  # else it was given back just now
                return Leader(*row) if row else None

    async def take_manifest(self, repository: str, digest: str | None, token: str) -> bool:
        """See the port."""

        async def try_it(transaction: Transaction) -> bool:
            row = await transaction.one(_LOCK, key=repository, node=self._node)
            if row is None or row[0]:
                return False
            if digest is not None:
                return await self._take(transaction, f"{repository}@{digest}", token, -1, "")
            first, end = f"{repository}@", f"{repository}A"
            if await transaction.one(_ANY_OF_IT, first=first, end=end, node=self._node) is not None:
                return False
            return await self._take(transaction, repository, token, -1, "")

        return await self._engine.write(try_it, durable=False)

    async def renew(self, key: str, token: str, size: int, arrived: int) -> None:
        """See the port."""
        await self._run(_RENEW, key=key, token=token, size=size, arrived=arrived, lease=self._lease)

    async def give_up(self, key: str, token: str, wrong: str) -> None:
        """See the port."""
        await self._run(_GIVE_UP, key=key, token=token, wrong=wrong)

    async def release(self, key: str, token: str) -> None:
        """See the port."""
        await self._run(_RELEASE, key=key, token=token)

    async def forget(self) -> int:
        """Delete what lapsed long ago; returns how many."""
        return await self._run(_FORGET, age=_FORGOTTEN)

    async def _take(self, transaction: Transaction, key: str, token: str, size: int, followed: str) -> bool:
        values = {"key": key, "node": self._node, "token": token, "size": size, "lease": self._lease}
        return bool(await transaction.run(_TAKE, **values, followed=followed))

    async def _run(self, statement: str, **values: object) -> int:
        async def run(transaction: Transaction) -> int:
            return await transaction.run(statement, **values)

        return await self._engine.write(run, durable=False)
