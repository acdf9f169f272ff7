"""Purging in one transaction: manifests, tags, links and rows of blobs, and what may not come back."""

from dataclasses import dataclass, field

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller
from entrepot.access.decision import Action, decide
from entrepot.database.cascade import Plan
from entrepot.database.changes import record
from entrepot.database.deletion import drop_tag
from entrepot.database.engine import Transaction
from entrepot.database.holding import HELD, NAMED_HERE, forget_unlinked, loosen_blob
from entrepot.database.manifests import leave_deletion
from entrepot.database.repositories import repository_id
from entrepot.database.rights import facts_in
from entrepot.database.tag_rules import refuse_delete, rules_of
from entrepot.hub.purging import Holder
from entrepot.registry.errors import Denied
from entrepot.registry.purging import Bounds

# One purge at a time: their ids are in the order of their commits, and cutting looks at what is new by them.
_TURN = "UPDATE lifecycle SET paused_at = paused_at WHERE id = 1"
_BOUNDS = "SELECT namespace_id, upstream FROM repositories WHERE id = :repository"
WITHIN = (  # whether the repository `r` is within bounds
    "((CAST(:namespace AS bigint) IS NULL AND CAST(:upstream AS text) IS NULL)"
    " OR r.namespace_id = CAST(:namespace AS bigint) OR r.upstream = CAST(:upstream AS text))"
)
SAME = (  # whether the bounds of the purge `p` are these
    "COALESCE(p.namespace_id, 0) = COALESCE(CAST(:namespace AS bigint), 0)"
    " AND COALESCE(p.upstream, '') = COALESCE(CAST(:upstream AS text), '')"
)
_FOUND = (
    "SELECT r.id, r.name, r.upstream, m.id, m.digest, m.deleted_at FROM {what} WHERE " + WITHIN + " AND {which}"  # noqa: S608
)
_IS = _FOUND.format(
    what="manifests m JOIN repositories r ON r.id = m.repository_id", which="m.digest = :digest ORDER BY m.id"
)
_NAMES = _FOUND.format(
    what="manifest_references f JOIN manifests m ON m.id = f.manifest_id JOIN repositories r ON r.id = m.repository_id",
    which="f.digest = :digest ORDER BY m.id",
)
_LINKED = (
    "SELECT l.repository_id, r.name, r.upstream FROM links l JOIN blobs b ON b.id = l.blob_id JOIN repositories r"  # noqa: S608
    f" ON r.id = l.repository_id WHERE b.digest = :digest AND {WITHIN} ORDER BY l.repository_id"
)
_KIND = "SELECT kind FROM manifests WHERE id = :manifest"
_LOCK_MANIFEST = "UPDATE manifests SET sighted = sighted WHERE id = :manifest RETURNING deletion_id"
_TAGS = "SELECT name FROM tags WHERE manifest_id = :manifest ORDER BY name"
_REFERENCES = "DELETE FROM manifest_references WHERE manifest_id = :manifest RETURNING digest"
_DROP_MANIFEST = "DELETE FROM manifests WHERE id = :manifest"
_INSERT = (
    "INSERT INTO purges (namespace_id, upstream, repository_id, digest, reason, at, account_id)"
    " VALUES (:namespace, :upstream, :repository, :digest, :reason, now_us(), :account) RETURNING id"
)
_BARRED = (
    f"SELECT p.id FROM purges p WHERE {SAME} AND p.digest = :digest AND p.lifted_at IS NULL ORDER BY p.id DESC LIMIT 1"  # noqa: S608
)
_NOTE = "INSERT INTO purged (purge_id, repository_id, digest, kind) VALUES (:purge, :repository, :digest, :kind)"
_LOCK_BLOB = "UPDATE blobs SET sighted = sighted WHERE digest = :digest"
_UNLINK = (
    "DELETE FROM links WHERE repository_id = :repository AND blob_id = (SELECT id FROM blobs WHERE digest = :digest)"  # noqa: S608
    f" AND NOT {NAMED_HERE}"
)
_DROP_BLOB = (
    f"DELETE FROM blobs WHERE digest = :digest AND NOT {HELD} AND NOT EXISTS"  # noqa: S608
    " (SELECT 1 FROM links l WHERE l.blob_id = blobs.id) RETURNING store, key"
)
_TRASH = "INSERT INTO trash (store, key) VALUES (:store, :key) ON CONFLICT (store, key) DO NOTHING"


@dataclass
class _Of:
    """What goes from one repository: live manifests with their tags, and deleted ones, by id with their digests."""

    name: str
    upstream: str | None
    plan: Plan = field(default_factory=Plan)
    deleted: dict[int, str] = field(default_factory=dict)


@dataclass
class Sweep:
    """Everything within bounds that is a digest, names it, or goes along; repositories by id."""

    bounds: Bounds
    digest: str
    from_upstream: bool
    repositories: dict[int, _Of] = field(default_factory=dict)
    linked: list[int] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing has it."""
        return not self.repositories and not self.linked

    async def find(self, transaction: Transaction) -> None:
        """Find it all; manifests are locked, and so is the blob."""
        await transaction.run(_LOCK_BLOB, digest=self.digest)
        pending = [self.digest]
        seen: set[str] = set()
        while pending:
            digest = pending.pop()
            if digest in seen:
                continue
            seen.add(digest)
            here = {**self.bounds._asdict(), "digest": digest}
            for repository, name, upstream, manifest, its, deleted_at in (
                *await transaction.all(_IS, **here),
                *await transaction.all(_NAMES, **here),
            ):
                of = self.repositories.setdefault(repository, _Of(name, upstream))
                if deleted_at is not None or name.startswith("~"):
                    of.deleted[manifest] = its
                else:
                    await of.plan.take(transaction, repository, manifest, its)
                pending.append(its)
        linked = await transaction.all(_LINKED, **self.bounds._asdict(), digest=self.digest)
        for repository, name, upstream in linked:
            self.linked.append(repository)
            self.repositories.setdefault(repository, _Of(name, upstream))

    async def refuse(self, transaction: Transaction, caller: Caller) -> None:
        """Denied unless the caller may purge from all of these, and no rule forbids it.

        Whoever may purge from one repository of an upstream may do so from all.
        """
        assert caller.actor is not None
        for repository, of in self.repositories.items():
            if of.name.startswith("~"):
                continue
            if of.upstream is None:
                await self._refuse_without_rights(transaction, caller.actor, of.name)
            rules = await rules_of(transaction, repository)
            for tag in sorted(of.plan.tags):
                await refuse_delete(transaction, repository, tag, rules, caller)

    async def _refuse_without_rights(self, transaction: Transaction, actor: Actor, name: str) -> None:
        decision = decide(actor, Action.DELETE, await facts_in(transaction, actor.account_id, name))
        if not decision.allowed and not decision.policy:
            raise Denied(
                "other repositories of this namespace hold it too, from which you may not purge:"
                " let an owner of the namespace do it"
            )

    async def holders(self, transaction: Transaction) -> list[Holder]:
        """What goes, for people."""
        found = []
        for of in self.repositories.values():
            for manifest, digest in sorted({**of.plan.manifests, **of.deleted}.items()):
                row = await transaction.one(_KIND, manifest=manifest)
                tags = sorted(tag for tag, named in of.plan.tags.items() if named == manifest)
                found.append(Holder("" if of.name.startswith("~") else of.name, digest, row[0] if row else "", tags))
        return found


async def sweep(transaction: Transaction, repository: str, digest: str, caller: Caller) -> tuple[int, Sweep] | None:
    """The repository's id, and what a purge would take; None when there is no such repository."""
    identity = await repository_id(transaction, repository, caller)
    row = await transaction.one(_BOUNDS, repository=identity) if identity is not None else None
    if identity is None or row is None:
        return None
    everywhere = caller.actor is not None and caller.actor.everybody
    if not everywhere and tuple(row) == (None, None):
        return None  # of nobody's repository: its purge would be one of everything
    found = Sweep(Bounds() if everywhere else Bounds(*row), digest, from_upstream=row[1] is not None)
    await found.find(transaction)
    await found.refuse(transaction, caller)
    return identity, found


async def purge(
    transaction: Transaction, repository: str, digest: str, reason: str, caller: Caller
) -> tuple[int, list[tuple[str, str]]] | None:
    """Take it all; the purge's id, and the keys of bytes that nothing names any more. None when nothing has it.

    What comes from an upstream may be arriving just now, or come tomorrow: it is barred though nothing has it.
    """
    await transaction.run(_TURN)
    found = await sweep(transaction, repository, digest, caller)
    if found is None or (found[1].empty and not found[1].from_upstream):
        return None
    identity, swept = found
    named: dict[int, set[str]] = {}
    barred = await transaction.one(_BARRED, **swept.bounds._asdict(), digest=digest)
    if barred is None:
        barred = await transaction.one(
            _INSERT, **swept.bounds._asdict(), repository=identity, digest=digest, reason=reason,
            account=caller.account_id,
        )  # fmt: skip
        await record(transaction, caller, "purge.create", identity, old=digest, subject=reason or None)
        if swept.empty:
            named[identity] = {digest}
    assert barred is not None
    for each, of in swept.repositories.items():
        named[each] = await _take(transaction, barred[0], each, of, caller)
    for each in swept.linked:
        named[each].add(digest)
    return barred[0], await _let_go(transaction, barred[0], named, caller)


async def _take(transaction: Transaction, purge: int, repository: int, of: _Of, caller: Caller) -> set[str]:
    """Remove manifests with their tags; what they named."""
    for tag, manifest in sorted(of.plan.tags.items()):
        await drop_tag(transaction, repository, tag, manifest, of.plan.manifests[manifest], caller, "tag.purge")
    for manifest, digest in sorted(of.deleted.items()):  # those of a deleted repository still have their tags
        for (tag,) in await transaction.all(_TAGS, manifest=manifest):
            await drop_tag(transaction, repository, tag, manifest, digest, caller, "tag.purge")
    named: set[str] = set()
    for manifest, digest in sorted({**of.plan.manifests, **of.deleted}.items()):
        row = await transaction.one(_LOCK_MANIFEST, manifest=manifest)
        if row is None:
            continue
        named |= {each for (each,) in await transaction.all(_REFERENCES, manifest=manifest)}
        await transaction.run(_DROP_MANIFEST, manifest=manifest)
        await leave_deletion(transaction, manifest, row[0])
        await transaction.run(_NOTE, purge=purge, repository=repository, digest=digest, kind="manifest")
        await record(transaction, caller, "manifest.purge", repository, old=digest)
    await forget_unlinked(transaction, repository, named)
    return named


async def _let_go(
    transaction: Transaction, purge: int, named: dict[int, set[str]], caller: Caller
) -> list[tuple[str, str]]:
    """End the links that no manifest there needs, and the blobs that nothing needs."""
    keys: list[tuple[str, str]] = []
    for digest in sorted({each for some in named.values() for each in some}):
        known = await transaction.run(_LOCK_BLOB, digest=digest)
        for repository in sorted(each for each, some in named.items() if digest in some):
            if not known:  # it may be arriving from an upstream
                await transaction.run(_NOTE, purge=purge, repository=repository, digest=digest, kind="absent")
                continue
            gone = await transaction.run(_UNLINK, repository=repository, digest=digest)
            kind = "blob" if gone else "kept"
            await transaction.run(_NOTE, purge=purge, repository=repository, digest=digest, kind=kind)
            if gone:
                await record(transaction, caller, "blob.purge", repository, old=digest)
        row = await transaction.one(_DROP_BLOB, digest=digest) if known else None
        if row is None:
            await loosen_blob(transaction, digest)
            continue
        await transaction.run(_TRASH, store=row[0], key=row[1])
        keys.append((row[0], row[1]))
    return keys
