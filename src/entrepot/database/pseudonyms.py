"""What the audit keeps of an account that is deleted: what was done and when, by `deleted#ID`, and not by whom.

The rows stay, as others have to answer for what was done beside them. The account's name goes from them, wherever it
stands: as what was changed, as the first component of repositories, and in grants. So do the addresses that it came
from, and what it called its credentials.
"""

from entrepot.database.engine import Transaction

_ITS_OWN = "namespace_id = CAST(:id AS bigint)"
_OF_NAMESPACE = (
    "UPDATE changes SET {0} = CAST(:gone AS text) || substr({0}, length(CAST(:name AS text)) + 1)"
    " WHERE namespace_id = CAST(:id AS bigint) AND substr({0}, 1, length(CAST(:name AS text)) + 1)"
    " = CAST(:name AS text) || '/'"
)
_STATEMENTS = (
    "UPDATE changes SET address = '' WHERE account_id = CAST(:id AS bigint)",
    "UPDATE logins SET address = '' WHERE account_id = CAST(:id AS bigint)",
    "UPDATE credentials SET label = '', client = '' WHERE account_id = CAST(:id AS bigint)",
    "DELETE FROM credential_uses WHERE credential_id IN (SELECT id FROM credentials WHERE account_id ="
    " CAST(:id AS bigint))",
    # What it called its credentials, and itself.
    f"UPDATE changes SET subject = NULL WHERE {_ITS_OWN} AND kind LIKE 'credential.%'",  # noqa: S608 - constants
    f"UPDATE changes SET subject = CAST(:gone AS text) WHERE {_ITS_OWN} AND subject = CAST(:name AS text)",  # noqa: S608
    # In organizations: as a member, in teams, and by `person NAME on PLACE` of grants. No other account had its name.
    "UPDATE changes SET subject = CAST(:gone AS text) WHERE subject = CAST(:name AS text)"
    " AND (kind LIKE 'member.%' OR kind IN ('team.enter', 'team.leave'))",
    "UPDATE changes SET subject = 'person ' || CAST(:gone AS text) || substr(subject, length(CAST(:name AS text)) + 8)"
    " WHERE kind LIKE 'grant.%' AND substr(subject, 1, length(CAST(:name AS text)) + 11)"
    " = 'person ' || CAST(:name AS text) || ' on '",
    # Of what it owned: the repositories' names, and the places of grants.
    *(_OF_NAMESPACE.format(column) for column in ("subject", "old", "new")),
    "UPDATE changes SET subject = rtrim(replace(subject || '/', ' on ' || CAST(:name AS text) || '/', ' on ' ||"  # noqa: S608
    f" CAST(:gone AS text) || '/'), '/') WHERE {_ITS_OWN} AND kind LIKE 'grant.%'",
    "UPDATE repositories SET deleted_name = CAST(:gone AS text)"  # noqa: S608
    " || substr(deleted_name, length(CAST(:name AS text)) + 1)"
    f" WHERE {_ITS_OWN} AND deleted_name IS NOT NULL",
)


async def pseudonymise(transaction: Transaction, account_id: int, name: str) -> None:
    """Take the name and the addresses of this account from what is remembered; it is about to be deleted."""
    for statement in _STATEMENTS:
        await transaction.run(statement, id=account_id, name=name, gone=pseudonym(account_id))


def pseudonym(account_id: int) -> str:
    """What a deleted account is called, as the audit shows and finds it."""
    return f"deleted#{account_id}"
