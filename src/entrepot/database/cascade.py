"""What goes along with a manifest that is deleted."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from entrepot.database.engine import Row, Transaction
from entrepot.registry.tag_rules import TagRule

LIVE = "SELECT id FROM manifests WHERE repository_id = :repository AND digest = :digest AND deleted_at IS NULL"
# A push of it that is committing a tag meanwhile is waited for, and then the tag is seen.
_LOCK = "UPDATE manifests SET sighted = sighted WHERE id = :manifest AND deleted_at IS NULL"
_PARENTS = (
    "SELECT m.id, m.digest FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id WHERE f.digest = :digest"
    " AND f.kind = 'child' AND m.repository_id = :repository AND m.deleted_at IS NULL"
)
_CHILDREN = (
    "SELECT c.id, c.digest, c.tagged FROM manifest_references f JOIN manifests c ON c.digest = f.digest"
    " WHERE f.manifest_id = :manifest AND f.kind = 'child' AND c.repository_id = :repository AND c.deleted_at IS NULL"
    " ORDER BY c.id"
)
_REFERRERS = (
    "SELECT id, digest FROM manifests WHERE repository_id = :repository AND subject = :digest AND deleted_at IS NULL"
    " ORDER BY id"
)
NAMED = (
    "SELECT m.id, m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id"
    " WHERE t.repository_id = :repository AND t.name = :tag"
)
_TAGS = "SELECT name FROM tags WHERE manifest_id = :manifest ORDER BY name"
COSIGN = ("", ".sig", ".att", ".sbom")  # of cosign, and of clients without the referrers API (protocol.md §2.6 39)


@dataclass
class Plan:
    """What a delete takes, of one repository: manifests by id with their digests, and their tags.

    `gone`: manifests that are to go before. `parents`: of each digest that was asked for, the live indexes that name it
    and stay, as far as is known.
    """

    manifests: dict[int, str] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    gone: AbstractSet[int] = frozenset()
    parents: dict[str, set[int]] = field(default_factory=dict)

    async def take(self, transaction: Transaction, repository: int, manifest: int, digest: str) -> None:
        """This manifest, what names it as its subject, and the children that nobody else wants."""
        pending = [(manifest, digest)]
        while pending:
            identity, name = pending.pop()
            if identity in self.manifests or identity in self.gone:
                continue
            if not await transaction.run(_LOCK, manifest=identity):
                continue
            self.manifests[identity] = name
            for (tag,) in await transaction.all(_TAGS, manifest=identity):
                self.tags[tag] = identity
            for found, its_name in await _attached(transaction, repository, name):
                if not await self._wanted(transaction, repository, its_name):
                    pending.append((found, its_name))
            for child, its_name, tagged in await transaction.all(_CHILDREN, manifest=identity, repository=repository):
                self.parents.get(its_name, set()).discard(identity)
                if not tagged and not await self._wanted(transaction, repository, its_name):
                    pending.append((child, its_name))

    async def holders(self, transaction: Transaction, repository: int, digest: str) -> list[str]:
        """The live indexes that name this manifest and stay."""
        return [name for _, name in await self._staying(transaction, repository, digest)]

    def alien(self, rules: Sequence[TagRule]) -> list[str]:
        """Its tags but those in which clients keep what belongs to these manifests, when no rule covers them."""
        known = {f"{stem(digest)}{suffix}" for digest in self.manifests.values() for suffix in COSIGN}
        return [tag for tag in sorted(self.tags) if tag not in known or any(rule.covers(tag) for rule in rules)]

    async def _wanted(self, transaction: Transaction, repository: int, digest: str) -> bool:
        """Whether an index names it that stays. Each is read once, as many may have their children in common."""
        if not self.parents.get(digest):  # unknown, or all are taken, and there may be new ones
            self.parents[digest] = {each for each, _ in await self._staying(transaction, repository, digest)}
        return bool(self.parents[digest])

    async def _staying(self, transaction: Transaction, repository: int, digest: str) -> list[Row]:
        parents = await transaction.all(_PARENTS, repository=repository, digest=digest)
        return [each for each in parents if each[0] not in self.manifests and each[0] not in self.gone]


async def _attached(transaction: Transaction, repository: int, digest: str) -> list[tuple[int, str]]:
    """Manifests that say that this one is their subject, or are tagged as such."""
    rows = await transaction.all(_REFERRERS, repository=repository, digest=digest)
    for suffix in COSIGN:
        rows += await transaction.all(NAMED, repository=repository, tag=stem(digest) + suffix)
    return [(row[0], row[1]) for row in rows]


def stem(digest: str) -> str:
    """What tags begin with that belong to a digest."""
    return digest.replace(":", "-", 1)
