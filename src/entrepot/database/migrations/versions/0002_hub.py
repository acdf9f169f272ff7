"""The hub: accounts, credentials, organizations, teams, grants, plans, and what of a repository belongs to people."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.BigInteger()  # microseconds since 1970, of the database's clock
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names compare by bytes
_FLAG = sa.SmallInteger()  # 0 or 1: both engines compare it alike
# Private repositories, bytes, pulls a window. NULL: no limit, of pulls what the settings say; pulls of -1: no limit.
_PLANS = (
    ("unlimited", None, None, None),
    ("free", 1, None, 200),
    ("pro", None, None, -1),
    ("team", None, None, -1),
)
_ATTESTATIONS = frozenset(
    {
        "application/vnd.in-toto+json",
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "application/vnd.dsse.envelope.v1+json",
    }
)


def upgrade() -> None:
    """Add the tables of the hub, and its columns to the registry's."""
    _accounts()
    _identities()
    _guessing()
    _credentials()
    _invitations()
    _signing_keys()
    _organizations()
    _repositories()
    _grants()
    _stars()
    _plans()
    _logins()
    _registry_columns()
    _kinds_of_manifests()


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("kind", _TEXT, nullable=False),  # person, organization, robot
        sa.Column("name", _TEXT, nullable=False, unique=True),  # of a deleted one: ~ and its id
        sa.Column("owner_id", _ID, sa.ForeignKey("accounts.id")),  # a robot's organization
        sa.Column("full_name", sa.Text(), nullable=False, server_default=""),
        sa.Column("email", sa.Text()),  # as its owner wrote it
        sa.Column("email_key", _TEXT, unique=True),  # in lower case; of two accounts that claim one, the first has it
        sa.Column("administrator", _FLAG, nullable=False, server_default="0"),
        sa.Column("plan", _TEXT, nullable=False, server_default="unlimited"),
        sa.Column("default_visibility", _TEXT, nullable=False, server_default="public"),
        sa.Column("creation", _TEXT, nullable=False, server_default="members"),  # who may create: members, owners
        sa.Column("member_role", _TEXT, nullable=False, server_default="read"),  # of every member: none, read, write
        sa.Column("pulls_exempt", _FLAG, nullable=False, server_default="0"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("disabled_at", _TIME),
        sa.Column("deleted_at", _TIME),
        sqlite_autoincrement=True,
    )
    op.create_index("accounts_owner", "accounts", ["owner_id"])


def _identities() -> None:
    op.create_table(  # names of deleted accounts, which nobody gets again
        "retired_names",
        sa.Column("name_key", _TEXT, primary_key=True),  # a keyed hash
        sqlite_with_rowid=False,
    )
    op.create_table(
        "identities",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("account_id", _ID, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("provider", _TEXT, nullable=False),  # password, htpasswd; later ldap, oidc, totp, passkey
        sa.Column("subject", _TEXT, nullable=False),  # what the provider calls the account
        sa.Column("secret", sa.Text()),  # a password's hash
        sa.Column("changed_at", _TIME, nullable=False),
        sa.UniqueConstraint("provider", "subject", name="identities_subject"),
        sqlite_autoincrement=True,
    )
    op.create_index("identities_account", "identities", ["account_id"])


def _guessing() -> None:
    op.create_table(  # failures to log in, by pair, address or name
        "throttles",
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("since", _TIME, nullable=False),  # of the first failure of the present window
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("throttles_since", "throttles", ["since"])
    op.create_table(  # where somebody has logged in: not throttled by what others try with the same name
        "known_addresses",
        sa.Column("account_id", _ID, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("address", _TEXT, primary_key=True),  # IPv4, or the /64 of IPv6
        sa.Column("seen_at", _TIME, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("known_addresses_seen", "known_addresses", ["seen_at"])


def _credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("account_id", _ID, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("kind", _TEXT, nullable=False),  # personal, robot, refresh, session
        sa.Column("parent_id", _ID, sa.ForeignKey("credentials.id")),  # what obtained it; NULL is the password
        sa.Column("label", sa.Text(), nullable=False, server_default=""),
        sa.Column("client", _TEXT, nullable=False, server_default=""),
        sa.Column("lookup", _TEXT, nullable=False, unique=True),
        sa.Column("hash", _TEXT, nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),  # JSON: {"role", "repositories"?, "namespaces"?}
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", _ID, sa.ForeignKey("accounts.id")),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sqlite_autoincrement=True,
    )
    op.create_index("credentials_account", "credentials", ["account_id", "kind", "client"])
    op.create_index("credentials_parent", "credentials", ["parent_id"])
    op.create_table(
        "credential_uses",
        sa.Column("credential_id", _ID, sa.ForeignKey("credentials.id"), primary_key=True),
        sa.Column("used_at", _TIME, nullable=False),
        sa.Column("address", _TEXT, nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("lookup", _TEXT, nullable=False, unique=True),
        sa.Column("hash", _TEXT, nullable=False),
        sa.Column("organization_id", _ID, sa.ForeignKey("accounts.id")),
        sa.Column("role", _TEXT, nullable=False, server_default="member"),
        sa.Column("team_id", _ID),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", _ID, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME),
        sa.Column("used_by", _ID, sa.ForeignKey("accounts.id")),
        sa.Column("revoked_at", _TIME),
        sqlite_autoincrement=True,
    )


def _signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("created_at", _TIME, nullable=False),
    )


def _organizations() -> None:
    op.create_table(
        "members",
        sa.Column("organization_id", _ID, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("account_id", _ID, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("role", _TEXT, nullable=False),  # owner, member
        sa.Column("created_at", _TIME, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("members_account", "members", ["account_id"])
    op.create_table(
        "teams",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("organization_id", _ID, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("created_at", _TIME, nullable=False),
        sa.UniqueConstraint("organization_id", "name", name="teams_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "team_members",
        sa.Column("team_id", _ID, sa.ForeignKey("teams.id"), primary_key=True),
        sa.Column("account_id", _ID, sa.ForeignKey("accounts.id"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("team_members_account", "team_members", ["account_id"])


def _repositories() -> None:
    # Written out: a reference can come with a new column on both engines, but not by way of Alembic on SQLite.
    op.execute("ALTER TABLE repositories ADD COLUMN namespace_id BIGINT REFERENCES accounts (id)")
    for column in (
        sa.Column("visibility", _TEXT, nullable=False, server_default="public"),
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("readme", sa.Text(), nullable=False, server_default=""),
        # It rises when rights that were handed out must end at once: private, renamed, transferred, deleted.
        sa.Column("rights_version", sa.BigInteger(), nullable=False, server_default="1"),
        sa.Column("pulls_exempt", _FLAG, nullable=False, server_default="0"),
        sa.Column("created_by", _ID),
        sa.Column("archived_at", _TIME),
        sa.Column("deleted_at", _TIME),
        sa.Column("deleted_name", _TEXT),  # the name it had; its row is then called ~ and its id
    ):
        op.add_column("repositories", column)
    op.create_index("repositories_namespace_id", "repositories", ["namespace_id", "name"])
    op.create_index("repositories_visibility", "repositories", ["visibility", "name"])
    op.create_table(
        "former_names",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("until", _TIME, nullable=False),
    )


def _grants() -> None:
    op.create_table(
        "grants",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("account_id", _ID, sa.ForeignKey("accounts.id")),  # either an account
        sa.Column("team_id", _ID, sa.ForeignKey("teams.id")),  # or a team
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id")),  # on either a repository
        sa.Column("namespace_id", _ID, sa.ForeignKey("accounts.id")),  # or everything in a namespace
        sa.Column("role", _TEXT, nullable=False),  # read, write, admin
        sa.Column("created_at", _TIME, nullable=False),
        sa.UniqueConstraint("account_id", "repository_id", name="grants_account_repository"),
        sa.UniqueConstraint("account_id", "namespace_id", name="grants_account_namespace"),
        sa.UniqueConstraint("team_id", "repository_id", name="grants_team_repository"),
        sa.UniqueConstraint("team_id", "namespace_id", name="grants_team_namespace"),
        sqlite_autoincrement=True,
    )
    op.create_index("grants_repository", "grants", ["repository_id"])
    op.create_index("grants_namespace", "grants", ["namespace_id"])


def _stars() -> None:
    op.create_table(
        "stars",
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("account_id", _ID, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("created_at", _TIME, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("stars_account", "stars", ["account_id"])


def _plans() -> None:
    plans = op.create_table(
        "plans",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("private_repositories", sa.BigInteger()),
        sa.Column("storage", sa.BigInteger()),
        sa.Column("pulls", sa.BigInteger()),
    )
    names = ("name", "private_repositories", "storage", "pulls")
    op.bulk_insert(plans, [dict(zip(names, plan, strict=True)) for plan in _PLANS])


def _logins() -> None:
    op.create_table(  # merged: one row a minute, name, address and outcome
        "logins",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("account_id", _ID),
        sa.Column("name_key", _TEXT, nullable=False),  # a keyed hash of a name that is no account; else empty
        sa.Column("address", _TEXT, nullable=False),
        sa.Column("outcome", _TEXT, nullable=False),  # login, login.failed, login.throttled
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("logins_merged", "logins", ["minute", "account_id", "name_key", "address", "outcome"], unique=False)
    op.create_index("logins_at", "logins", ["at"])


def _registry_columns() -> None:
    # `changes.account` of 0001 was never written; it goes a release later.
    op.add_column("changes", sa.Column("account_id", _ID))
    op.add_column("changes", sa.Column("credential_id", _ID))
    op.add_column("changes", sa.Column("namespace_id", _ID))
    op.add_column("changes", sa.Column("subject", _TEXT))  # a team, a member, a token's label, a name
    op.add_column("changes", sa.Column("reason", _TEXT))  # why it was allowed
    op.create_index("changes_namespace", "changes", ["namespace_id", "id"])
    op.create_index("changes_account", "changes", ["account_id", "id"])
    op.create_index("changes_at", "changes", ["at"])
    op.add_column("uploads", sa.Column("account_id", _ID))
    op.add_column("uploads", sa.Column("reserved", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("manifests", sa.Column("kind", _TEXT, nullable=False, server_default="image"))


def _kinds_of_manifests() -> None:
    """What was pushed before: an index, a referrer, an attestation, or else an image."""
    op.execute(
        "UPDATE manifests SET kind = 'index' WHERE media_type IN ('application/vnd.oci.image.index.v1+json',"
        " 'application/vnd.docker.distribution.manifest.list.v2+json')"
    )
    op.execute("UPDATE manifests SET kind = 'referrer' WHERE kind = 'image' AND subject IS NOT NULL")
    connection = op.get_bind()
    after = 0
    step = sa.text("SELECT id, content FROM manifests WHERE kind = 'image' AND id > :after ORDER BY id LIMIT 500")
    mark = sa.text("UPDATE manifests SET kind = 'attestation' WHERE id = :id")
    while rows := connection.execute(step, {"after": after}).all():
        for identity, content in rows:
            after = identity
            kinds = _layers(bytes(content))
            if kinds and kinds <= _ATTESTATIONS:
                connection.execute(mark, {"id": identity})


def _layers(content: bytes) -> set[str]:
    """The media types of a manifest's layers; the manifest was checked when it was pushed, but may be an artifact."""
    try:
        layers = json.loads(content).get("layers") or []
    except (ValueError, AttributeError):
        return set()
    return {str(layer.get("mediaType")) for layer in layers if isinstance(layer, dict)}
