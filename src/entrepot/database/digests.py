"""Where a digest is and was: by manifests that have it or name it, and by the history of their tags."""

from entrepot.database.engine import Engine
from entrepot.hub.digests import Place, Span

_MANIFESTS = (
    "SELECT r.id, r.name, m.digest, m.kind, m.deleted_at FROM manifests m JOIN repositories r ON r.id = m.repository_id"
    " WHERE m.digest = :digest AND r.deleted_at IS NULL ORDER BY m.id LIMIT :limit OFFSET :offset"
)
_NAMING = (
    "SELECT r.id, r.name, m.digest, f.kind, m.deleted_at FROM manifest_references f JOIN manifests m"
    " ON m.id = f.manifest_id JOIN repositories r ON r.id = m.repository_id"
    " WHERE f.digest = :digest AND r.deleted_at IS NULL ORDER BY m.id LIMIT :limit OFFSET :offset"
)
_GONE = (
    "SELECT DISTINCT r.id, r.name, c.new, 'gone', CAST(NULL AS bigint) FROM changes c JOIN repositories r"
    " ON r.id = c.repository_id WHERE c.new = :digest AND c.tag IS NOT NULL AND r.deleted_at IS NULL AND NOT EXISTS"
    " (SELECT 1 FROM manifests m WHERE m.repository_id = c.repository_id AND m.digest = c.new) ORDER BY r.id"
    " LIMIT :limit"
)
_TAGS = (
    "SELECT c.tag, c.at, (SELECT MIN(n.at) FROM changes n WHERE n.repository_id = c.repository_id AND n.tag = c.tag"
    " AND n.at > c.at), (SELECT m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id"
    " WHERE t.repository_id = c.repository_id AND t.name = c.tag) FROM changes c WHERE c.new = :digest"
    " AND c.repository_id = :repository AND c.tag IS NOT NULL ORDER BY c.at LIMIT :limit"
)


class DatabaseDigests:
    """The port DigestRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def manifests(self, digest: str, limit: int, offset: int) -> list[Place]:
        """See the port."""
        return [Place(*row) for row in await self._engine.scan(_MANIFESTS, digest=digest, limit=limit, offset=offset)]

    async def gone(self, digest: str, limit: int) -> list[Place]:
        """See the port."""
        return [Place(*row) for row in await self._engine.scan(_GONE, digest=digest, limit=limit)]

    async def naming(self, digest: str, limit: int, offset: int) -> list[Place]:
        """See the port."""
        return [Place(*row) for row in await self._engine.scan(_NAMING, digest=digest, limit=limit, offset=offset)]

    async def tags(self, repository_id: int, digest: str, limit: int) -> list[Span]:
        """See the port."""
        rows = await self._engine.scan(_TAGS, repository=repository_id, digest=digest, limit=limit)
        return [Span(*row) for row in rows]
