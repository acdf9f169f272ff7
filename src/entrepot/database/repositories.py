"""Repositories: a permanent id, and a name in one row."""

from entrepot.access.actor import Basis
from entrepot.access.caller import Caller
from entrepot.access.decision import Action, decide
from entrepot.database.changes import record
from entrepot.database.engine import Transaction
from entrepot.database.plans import check_private
from entrepot.database.rights import facts_in
from entrepot.database.search import index
from entrepot.registry.errors import Unauthorized

_FIND = "SELECT id, rights_version FROM repositories WHERE name = :name"
_INSERT = (
    "INSERT INTO repositories (name, created_at) VALUES (:name, now_us()) ON CONFLICT (name) DO NOTHING RETURNING id"
)
_CREATE = (
    "INSERT INTO repositories (name, created_at, namespace_id, visibility, created_by) VALUES (:name, now_us(),"
    " :namespace, :visibility, :account) ON CONFLICT (name) DO NOTHING RETURNING id"
)
# Whoever creates a repository in an organization administers it, unless that is so already.
_GRANT_CREATOR = (
    "INSERT INTO grants (account_id, repository_id, role, created_at) SELECT a.id, :repository, 'admin', now_us()"
    " FROM accounts a WHERE a.id = :account AND a.kind = 'person' AND a.id <> :namespace AND NOT EXISTS"
    " (SELECT 1 FROM members m WHERE m.organization_id = :namespace AND m.account_id = a.id AND m.role = 'owner')"
)


async def repository_id(transaction: Transaction, name: str, caller: Caller) -> int | None:
    """The id of a repository, if there is one of this name, and the caller may still do what was decided."""
    row = await transaction.one(_FIND, name=name)
    if row is None:
        return None
    if caller.basis is not None and (row[0], row[1]) != (caller.basis.repository_id, caller.basis.rights_version):
        await _still_allowed(transaction, name, caller)
    return int(row[0])


async def made_repository_id(transaction: Transaction, name: str, caller: Caller) -> int:
    """The id of a repository, made when it is new: by anybody without accounts, with them as it was decided."""
    found = await repository_id(transaction, name, caller)
    if found is not None:
        return found
    basis = caller.basis
    if basis is None:
        row = await transaction.one(_INSERT, name=name) or await transaction.one(_FIND, name=name)
        assert row is not None
        return int(row[0])
    if basis.repository_id is not None:  # it was renamed or deleted since
        basis = await _still_allowed(transaction, name, caller)
    if basis.visibility == "private":
        assert basis.namespace_id is not None
        await check_private(transaction, basis.namespace_id, caller)
    row = await transaction.one(
        _CREATE, name=name, namespace=basis.namespace_id, visibility=basis.visibility, account=caller.account_id
    )
    if row is None:  # somebody else has just made it
        found = await repository_id(transaction, name, caller)
        assert found is not None
        return found
    await transaction.run(_GRANT_CREATOR, repository=row[0], account=caller.account_id, namespace=basis.namespace_id)
    await index(transaction, row[0])
    await record(transaction, caller, "repository.create", row[0], new=basis.visibility)
    return int(row[0])


async def _still_allowed(transaction: Transaction, name: str, caller: Caller) -> Basis:
    """Decide again, as the repository is not what it was when it was decided: rights may have changed with it."""
    assert caller.actor is not None
    facts = await facts_in(transaction, caller.actor.account_id, name)
    decision = decide(caller.actor, caller.action or Action.PUSH, facts)
    if decision.basis is None:
        raise Unauthorized
    return decision.basis
