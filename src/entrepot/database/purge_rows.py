"""The rows of purges: carrying one out, what is known of it afterwards, and what workers still send of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.database.purges import COVERS
from entrepot.database.purging import SAME, WITHIN, purge, sweep
from entrepot.database.usage import DatabaseUsage
from entrepot.hub.purging import Cut, Exposure, Holder, Pulled, Purge, Push, Shared
from entrepot.registry.purging import Bounds, Purged

_MOST = 1000  # rows of each list of a report

_COLUMNS = (
    "SELECT p.id, COALESCE(r.deleted_name, r.name), p.digest, p.reason, p.at, a.name, p.lifted_at FROM purges p"  # noqa: S608
    " JOIN repositories r ON r.id = p.repository_id LEFT JOIN accounts a ON a.id = p.account_id"
    f" WHERE {SAME}"
)
_LISTED = f"{_COLUMNS} AND p.id > CAST(:after AS bigint) ORDER BY p.id LIMIT :limit"
_ONE = f"{_COLUMNS} AND p.id = :id"
_LIFT = (
    "UPDATE purges AS p SET lifted_at = now_us() WHERE p.id = :id AND p.lifted_at IS NULL"  # noqa: S608
    f" AND {SAME} RETURNING digest, repository_id"
)
_GONE = (
    "SELECT DISTINCT COALESCE(r.deleted_name, r.name), d.digest, d.kind FROM purged d JOIN repositories r"
    " ON r.id = d.repository_id WHERE d.purge_id = :purge AND d.kind NOT IN ('kept', 'absent')"
    " ORDER BY 1, 2 LIMIT :limit"
)
_TAGS = (
    "SELECT COALESCE(r.deleted_name, r.name), c.new, c.tag, c.at, (SELECT MIN(n.at) FROM changes n"
    " WHERE n.repository_id = c.repository_id AND n.tag = c.tag AND n.at > c.at), a.name, c.address FROM purged d"
    " JOIN changes c ON c.new = d.digest AND c.repository_id = d.repository_id JOIN repositories r"
    " ON r.id = c.repository_id LEFT JOIN accounts a ON a.id = c.account_id WHERE d.purge_id = :purge"
    " AND d.kind = 'manifest' AND (c.tag IS NOT NULL OR c.kind = 'manifest.push') ORDER BY c.id LIMIT :limit"
)
_OF_PULLS = (
    "FROM purged d JOIN usage_hours u ON u.repository_id = d.repository_id AND u.digest = d.digest"
    " JOIN repositories r ON r.id = u.repository_id LEFT JOIN accounts a ON a.id = u.account_id"
    " WHERE d.purge_id = :purge AND d.kind = 'manifest'"
)
_PULLS = (
    "SELECT u.id, COALESCE(r.deleted_name, r.name), u.digest, u.tag, a.name, u.address, u.agent, u.requests,"
    f" u.first_at, u.last_at {_OF_PULLS} AND u.id > CAST(:after AS bigint) ORDER BY u.id LIMIT :limit"
)
_PULLED = f"SELECT COALESCE(CAST(SUM(u.requests) AS bigint), 0) {_OF_PULLS}"
_CUTS = "SELECT at, address, target FROM purge_cuts WHERE purge_id = :purge ORDER BY id LIMIT :limit"
_SHARED = (
    "SELECT DISTINCT r.name, m.digest, d.digest FROM purged d JOIN manifest_references f ON f.digest = d.digest"  # noqa: S608
    " JOIN manifests m ON m.id = f.manifest_id JOIN repositories r ON r.id = m.repository_id JOIN purges p"
    " ON p.id = d.purge_id WHERE d.purge_id = :purge AND d.kind <> 'manifest' AND f.kind = 'layer'"
    f" AND {COVERS} AND m.deleted_at IS NULL AND r.deleted_at IS NULL"
    " ORDER BY 1, 2, 3 LIMIT :limit"
)
_LATEST = "SELECT COALESCE(MAX(id), 0) FROM purged"
_SINCE = (
    "SELECT d.id, d.purge_id, p.namespace_id, p.upstream, d.digest FROM purged d JOIN purges p ON p.id = d.purge_id"
    " WHERE d.id > :after ORDER BY d.id LIMIT 1000"
)
_IN = f"SELECT 1 FROM repositories r WHERE r.id = :repository AND {WITHIN}"  # noqa: S608
_CUT = "INSERT INTO purge_cuts (purge_id, at, address, target) VALUES (:purge, now_us(), :address, :target)"


@dataclass(frozen=True, slots=True)
class DatabasePurges:
    """The ports PurgeRows and CutRows."""

    engine: Engine

    async def holders(self, repository: str, digest: str, caller: Caller) -> Sequence[Holder]:
        """See the port."""

        async def look(transaction: Transaction) -> list[Holder]:
            found = await sweep(transaction, repository, digest, caller)
            return [] if found is None else await found[1].holders(transaction)

        return await self.engine.write(look, durable=False)

    async def purge(
        self, repository: str, digest: str, reason: str, caller: Caller
    ) -> tuple[int, Sequence[tuple[str, str]]] | None:
        """See the port."""
        return await self.engine.write(lambda t: purge(t, repository, digest, reason, caller), durable=True)

    async def overwrite(self) -> None:
        """See the port."""
        await self.engine.overwrite()

    def overwritten(self) -> bool:
        """See the port."""
        return self.engine.overwritten()

    async def purges(self, bounds: Bounds, after: int, limit: int) -> Sequence[Purge]:
        """See the port."""
        rows = await self.engine.read(_LISTED, **bounds._asdict(), after=after, limit=limit)
        return [Purge(*row) for row in rows]

    async def one(self, bounds: Bounds, identity: int) -> Purge | None:
        """See the port."""
        rows = await self.engine.read(_ONE, **bounds._asdict(), id=identity)
        return Purge(*rows[0]) if rows else None

    async def exposure(self, purge: Purge) -> Exposure:
        """See the port; versions and what follows is not of the database."""
        of = {"purge": purge.id, "limit": _MOST}
        return Exposure(
            purge=purge,
            gone=[Holder(row[0], row[1], row[2], []) for row in await self.engine.scan(_GONE, **of)],
            pushes=[Push(*row) for row in await self.engine.scan(_TAGS, **of)],
            pulled=int((await self.engine.scan(_PULLED, purge=purge.id))[0][0]),
            pulls=await self.pulls(purge.id, 0, _MOST),
            complete_until=await DatabaseUsage(self.engine).complete_until(),
            cut=[Cut(*row) for row in await self.engine.scan(_CUTS, **of)],
            shared=[Shared(*row) for row in await self.engine.scan(_SHARED, **of)],
            versions="",
            unreachable=[],
            advice=[],
        )

    async def pulls(self, purge: int, after: int, limit: int) -> Sequence[Pulled]:
        """See the port."""
        return [Pulled(*row) for row in await self.engine.scan(_PULLS, purge=purge, after=after, limit=limit)]

    async def lift(self, bounds: Bounds, identity: int, caller: Caller) -> bool:
        """See the port."""

        async def lift(transaction: Transaction) -> bool:
            row = await transaction.one(_LIFT, **bounds._asdict(), id=identity)
            if row is None:
                return False
            await record(transaction, caller, "purge.lift", row[1], namespace=bounds.namespace, new=row[0])
            return True

        return await self.engine.write(lift, durable=True)

    async def latest_purged(self) -> int:
        """See the port."""
        return int((await self.engine.read(_LATEST))[0][0])

    async def purged_since(self, after: int) -> Sequence[Purged]:
        """See the port."""
        rows = await self.engine.read(_SINCE, after=after)
        return [Purged(row[0], row[1], Bounds(row[2], row[3]), row[4]) for row in rows]

    async def within(self, repository_id: int, bounds: Bounds) -> bool:
        """See the port."""
        return bool(await self.engine.read(_IN, repository=repository_id, **bounds._asdict()))

    async def note_cut(self, purge: int, address: str, target: str) -> None:
        """See the port."""

        async def note(transaction: Transaction) -> None:
            await transaction.run(_CUT, purge=purge, address=address, target=target)

        await self.engine.write(note, durable=False)
