"""Repositories: a permanent id, and a name in one row."""

from entrepot.database.engine import Transaction

_FIND = "SELECT id FROM repositories WHERE name = :name"
_INSERT = (
    "INSERT INTO repositories (name, created_at) VALUES (:name, now_us()) ON CONFLICT (name) DO NOTHING RETURNING id"
)


async def repository_id(transaction: Transaction, name: str) -> int | None:
    """The id of a repository, if there is one of this name."""
    row = await transaction.one(_FIND, name=name)
    return None if row is None else int(row[0])


async def made_repository_id(transaction: Transaction, name: str) -> int:
    """The id of a repository, made when it is new."""
    found = await repository_id(transaction, name)
    if found is not None:
        return found
    row = await transaction.one(_INSERT, name=name) or await transaction.one(_FIND, name=name)
    assert row is not None
    return int(row[0])
