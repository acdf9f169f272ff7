"""Giving the repositories of an open registry to namespaces, when accounts are switched on."""

from collections.abc import Collection

from entrepot.access.names import LIBRARY, InvalidAccountName, check_account_name, namespace_of
from entrepot.database.engine import Engine, Transaction

_HOMELESS = (
    "SELECT name FROM repositories WHERE namespace_id IS NULL AND upstream IS NULL AND deleted_at IS NULL ORDER BY name"
)
_NAMESPACE = "SELECT id FROM accounts WHERE name = :name AND kind <> 'robot' AND deleted_at IS NULL"
_MAKE = "INSERT INTO accounts (kind, name, created_at) VALUES (:kind, :name, now_us()) ON CONFLICT (name) DO NOTHING"
_OWN = (
    "INSERT INTO members (organization_id, account_id, role, created_at) SELECT :organization, a.id, 'owner', now_us()"
    " FROM accounts a WHERE a.administrator = 1 AND a.deleted_at IS NULL ORDER BY a.id LIMIT 1"
    " ON CONFLICT (organization_id, account_id) DO NOTHING"
)
# What begins with `name/` lies between `name/` and `name0` in byte order, as 0 follows the slash.
_GIVE = (
    "UPDATE repositories SET namespace_id = :namespace WHERE namespace_id IS NULL AND deleted_at IS NULL"
    " AND name >= :first AND name < :end"
)
_GIVE_LIBRARY = (
    "UPDATE repositories SET namespace_id = :namespace WHERE namespace_id IS NULL AND deleted_at IS NULL"
    " AND name NOT LIKE '%/%'"
)


class CannotAdopt(Exception):
    """Some repository names cannot belong to any account; the message names them and says what to do."""


async def adopt(engine: Engine, people: Collection[str] = ()) -> int:
    """Give each repository that has no namespace to one: to the account or organization of its first component.

    One that does not exist becomes the account of one of `people`, who can log in although they never have, or else a
    public organization of the first administrator. Returns how many repositories.
    """

    async def give(transaction: Transaction) -> int:
        names = [row[0] for row in await transaction.all(_HOMELESS)]
        _refuse_impossible(names)
        given = 0
        for namespace in sorted({namespace_of(name) for name in names}):
            identity = await _made(transaction, namespace, is_person=namespace in people)
            given += await transaction.run(_GIVE, namespace=identity, first=f"{namespace}/", end=f"{namespace}0")
            if namespace == LIBRARY:
                given += await transaction.run(_GIVE_LIBRARY, namespace=identity)
        return given

    if not await engine.read(_HOMELESS + " LIMIT 1"):
        return 0
    return await engine.write(give, durable=True)


async def _made(transaction: Transaction, name: str, *, is_person: bool) -> int:
    row = await transaction.one(_NAMESPACE, name=name)
    if row is None:
        await transaction.run(_MAKE, name=name, kind="person" if is_person else "organization")
        row = await transaction.one(_NAMESPACE, name=name)
        assert row is not None
        if not is_person:
            await transaction.run(_OWN, organization=row[0])
    return int(row[0])


def _refuse_impossible(names: list[str]) -> None:
    for name in names:
        namespace = namespace_of(name)
        if namespace == LIBRARY:
            continue
        try:
            check_account_name(namespace)
        except InvalidAccountName as error:
            raise CannotAdopt(
                f"the repository {name} cannot belong to an account: {error}. Start with --open, copy it to another"
                " name, delete it there, and start again with accounts"
            ) from None
