"""The tree of settings: each key is one line here, with its default, its help and its kind.

A key is the path of attributes, as `http.tls.certificate`; SETTINGS lists all keys in this order.
"""
# ruff: noqa: RUF009 -- the calls in the dataclasses are `_one` and `_many`, which return a dataclasses.field

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from entrepot.config import kinds
from entrepot.config.keys import Setting
from entrepot.config.keys import many as _many
from entrepot.config.keys import one as _one
from entrepot.config.kinds import Address
from entrepot.config.upstreams import SIZE, UPSTREAMS, ConfiguredUpstream


class ConfigError(Exception):
    """The configuration cannot be used; the message is one line that names the key and where it stands."""


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS on the listening port, when both files are named."""

    certificate: Path | None = _one(kinds.OPTIONAL_PATH, None, "File with the certificate and its chain, PEM.")
    key: Path | None = _one(kinds.OPTIONAL_PATH, None, "File with the certificate's private key, PEM.")


@dataclass(frozen=True, slots=True)
class Http:
    """The HTTP server."""

    listen: Address = _one(
        kinds.LISTEN,
        Address("127.0.0.1", 5000),
        "Where to listen. Port 0 takes any free one; the line printed when ready names it.",
        flag="--listen",
    )
    public_url: str = _one(
        kinds.ORIGIN, "", "How clients reach this registry, where that differs from what their requests say."
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _many(
        kinds.NETWORK, "Proxies that are believed when they say who asked them: see `http.forwarded_header`."
    )
    forwarded_header: str = _one(
        kinds.choice("x-forwarded-for", "forwarded"),
        "x-forwarded-for",
        "The header in which trusted proxies say it: `X-Forwarded-For`, or the standard `Forwarded` (RFC 7239). The"
        " other one is not looked at, as a client may have sent it.",
    )
    hosts: tuple[str, ...] = _many(
        kinds.HOST,
        "Names by which an open registry on loopback may be asked besides `localhost` and loopback addresses:"
        " any other name is refused, so that no web page can reach it through a name of its own.",
    )
    tls: Tls = Tls()


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletion."""

    enabled: bool = _one(kinds.BOOLEAN, True, "Whether tags, manifests and blobs can be deleted.")


@dataclass(frozen=True, slots=True)
class S3:
    """Object storage that speaks the S3 protocol; used when `storage.backend` is `s3`."""

    bucket: str = _one(kinds.TEXT, "", "The bucket; it must exist.")
    region: str = _one(kinds.TEXT, "us-east-1", "The bucket's region.")
    endpoint: str = _one(kinds.ORIGIN, "", "The server's address; empty for Amazon's.")
    access_key_id: str = _one(
        kinds.TEXT, "", "The access key. Without one, the credentials that the machine or the environment has."
    )
    secret_access_key: str = _one(kinds.SECRET, "", "The access key's secret.")
    prefix: str = _one(kinds.TEXT, "", "Put in front of the name of every object.")
    redirect: bool = _one(
        kinds.BOOLEAN, False, "Whether a blob's GET is answered by a redirect to a signed URL of the object storage."
    )


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the bytes of blobs are kept."""

    backend: str = _one(
        kinds.choice("filesystem", "s3"), "filesystem", "Files in `data_dir`, or objects in S3-compatible storage."
    )
    delete: Delete = Delete()
    s3: S3 = S3()


@dataclass(frozen=True, slots=True)
class Database:
    """Where repositories, tags and manifests are kept."""

    url: str = _one(kinds.DATABASE, "", "A PostgreSQL database; empty for SQLite in `data_dir`.")


@dataclass(frozen=True, slots=True)
class Manifests:
    """What a pushed manifest must satisfy."""

    missing: str = _one(
        kinds.choice("refuse", "accept"),
        "refuse",
        "Whether a manifest is accepted that names a config or layers which its repository does not have.",
    )


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """How long what was deleted can come back, and what nothing names stays. docs/lifecycle.md draws the states."""

    undo: int = _one(
        kinds.WHOLE_DURATION, 14 * 86400, "How long a deleted image, index or repository can be brought back."
    )
    grace: int = _one(
        kinds.WHOLE_DURATION, 86400, "How long a blob that no manifest names stays as it is, since its last use."
    )
    quarantine: int = _one(
        kinds.WHOLE_DURATION, 86400, "How long it then stays in quarantine, from which any use brings it back."
    )
    scrub: int = _one(kinds.PERIOD, 30 * 86400, "The time in which every blob is read once; 0: never.")


@dataclass(frozen=True, slots=True)
class Uploads:
    """Unfinished uploads."""

    lifetime: int = _one(
        kinds.WHOLE_DURATION, 7 * 86400, "How long after its last byte an unfinished upload can be resumed."
    )
    idle_timeout: float = _one(
        kinds.DURATION, 60.0, "How long a request body may send no byte before it is cut; the upload can be resumed."
    )


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts."""

    sign_up: str = _one(
        kinds.choice("closed", "open"),
        "closed",
        "Whether people make accounts for themselves; else administrators and invitations do.",
    )


@dataclass(frozen=True, slots=True)
class Auth:
    """How people and registries prove who they are."""

    htpasswd: Path | None = _one(
        kinds.OPTIONAL_PATH, None, "A file of names and bcrypt hashes: then it is the only source of accounts."
    )
    services: tuple[str, ...] = _many(
        kinds.TEXT, "Names of other registries that accept this one's tokens: each gets tokens that hold only there."
    )


@dataclass(frozen=True, slots=True)
class Pulls:
    """Pulls in a moving window. The word `docker-hub` in place of the keys means 100, 200 and 6h."""

    anonymous: int | None = _one(kinds.LIMIT, None, "Pulls of one address that nobody has logged in from.")
    account: int | None = _one(kinds.LIMIT, None, "Pulls of one account whose plan does not say otherwise.")
    window: int = _one(kinds.WHOLE_DURATION, 6 * 3600, "The window in which pulls are counted.")


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of any kind, against abuse; counted by each worker for itself."""

    address: int | None = _one(kinds.LIMIT, None, "Requests a minute from one address.")
    account: int | None = _one(kinds.LIMIT, None, "Requests a minute of one account.")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits."""

    pulls: Pulls = Pulls()
    requests: Requests = Requests()


@dataclass(frozen=True, slots=True)
class Audit:
    """Who did what."""

    keep: int = _one(
        kinds.WHOLE_DURATION,
        400 * 86400,
        "How long logins and changes of rights are kept. Pushes, deletions and moved tags stay: they are the history.",
    )


@dataclass(frozen=True, slots=True)
class BackupS3:
    """Where the bucket of a backup is; what is empty is as in `storage.s3`."""

    region: str = _one(kinds.TEXT, "", "The bucket's region; empty for that of `storage.s3`.")
    endpoint: str = _one(kinds.ORIGIN, "", "The server's address; empty for that of `storage.s3`.")
    access_key_id: str = _one(kinds.TEXT, "", "The access key; empty for that of `storage.s3`.")
    secret_access_key: str = _one(kinds.SECRET, "", "The access key's secret.")


@dataclass(frozen=True, slots=True)
class Backup:
    """`entrepot backup` and `entrepot restore` with `s3://BUCKET/PREFIX`."""

    s3: BackupS3 = BackupS3()


@dataclass(frozen=True, slots=True)
class Redis:
    """Redis or Valkey, where several nodes count pulls together."""

    url: str = _one(kinds.REDIS, "", "The server; without one each node counts for itself.")
    nodes: int = _one(kinds.COUNT, 2, "Nodes that share it: while it is away each allows its share of a limit.")


@dataclass(frozen=True, slots=True)
class Cache:
    """What is kept of all upstreams."""

    size: int | None = _one(
        SIZE, None, "Bytes that all upstreams together may hold, such as `200GB`; what was not used for longest goes."
    )
    images: tuple[str, ...] = _many(
        kinds.IMAGE, "Images of upstreams that are always here: fetched at the start, and never evicted."
    )
    images_file: Path | None = _one(
        kinds.OPTIONAL_PATH, None, "A file with more of them, one a line; `#` begins a comment. It is read each time."
    )
    platforms: tuple[str, ...] = _many(
        kinds.PLATFORM, "Of these images, where they are for several platforms, only these; all when there are none."
    )
    refresh: int = _one(kinds.WHOLE_DURATION, 6 * 3600, "How often these images are looked at again.")


@dataclass(frozen=True, slots=True)
class Mirror:
    """One upstream as Docker's `registry-mirrors` wants it: read-only, for everybody, under the names it has there."""

    upstream: str = _one(kinds.TEXT, "docker.io", "The alias of the upstream; it must be readable for everyone.")
    listen: Address | None = _one(
        kinds.OPTIONAL_LISTEN, None, "An address of its own, beside that of the registry; empty for none."
    )
    everywhere: bool = _one(kinds.BOOLEAN, False, "Whether the whole server is the mirror and nothing else.")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Several nodes on one PostgreSQL database."""

    advertise: str = _one(
        kinds.ORIGIN,
        "",
        "Where the other nodes reach this one: then they fetch each blob and manifest of an upstream once, together."
        " Empty: this node fetches for itself.",
    )
    ca: Path | None = _one(
        kinds.OPTIONAL_PATH,
        None,
        "File with an authority, PEM, that the nodes' certificates may be of, besides the system's.",
    )


@dataclass(frozen=True, slots=True)
class Log:
    """What is written to standard error."""

    level: str = _one(kinds.choice("debug", "info", "warning", "error"), "info", "The least important line written.")
    format: str = _one(kinds.choice("json", "text"), "json", "One JSON object a line, or text for people.")
    access: bool = _one(kinds.BOOLEAN, True, "Whether each request is written.")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one registry. `Settings()` is what runs when nothing is configured."""

    data_dir: Path = _one(
        kinds.PATH, Path("data"), "Directory of the database and, on the filesystem, of all blobs.", flag="--data-dir"
    )
    workers: int = _one(
        kinds.COUNT,
        min(2, os.cpu_count() or 1),
        "Processes that answer requests.",
        flag="--workers",
        described="2, on one processor 1",
    )
    open: bool = _one(
        kinds.BOOLEAN, False, "No accounts: whoever reaches the registry may push and pull.", flag="--open"
    )
    open_to_network: bool = _one(
        kinds.BOOLEAN, False, "Whether `open` is meant for other machines too.", flag="--open-to-network"
    )
    secret_key: str = _one(
        kinds.ROOT_SECRET,
        "",
        "The secret that every key is derived from. Empty: one is made in `data_dir`; on PostgreSQL it must be set, the"
        " same on every node.",
    )
    http: Http = Http()
    storage: Storage = Storage()
    database: Database = Database()
    manifests: Manifests = Manifests()
    lifecycle: Lifecycle = Lifecycle()
    uploads: Uploads = Uploads()
    accounts: Accounts = Accounts()
    auth: Auth = Auth()
    limits: Limits = Limits()
    audit: Audit = Audit()
    backup: Backup = Backup()
    redis: Redis = Redis()
    upstreams: tuple[ConfiguredUpstream, ...] = field(
        default=(),
        repr=False,
        metadata={
            "setting": Setting(
                UPSTREAMS,
                "Registries that are read through this one and kept: `ALIAS/PATH` here is `PATH` there. docs/cache.md"
                " says which keys each has.",
                "{}",
                structured=True,
            )
        },
    )
    cache: Cache = Cache()
    mirror: Mirror = Mirror()
    cluster: Cluster = Cluster()
    log: Log = Log()


def _walk(section: Any, prefix: str) -> Iterator[Setting]:
    for each in fields(section):
        path = prefix + each.name
        if is_dataclass(each.type):
            yield from _walk(each.type, path + ".")
        else:
            known: Setting = each.metadata["setting"]
            yield replace(known, path=path)


SETTINGS: Mapping[str, Setting] = {setting.path: setting for setting in _walk(Settings, "")}
"""Every key, in the order of the tree."""

PRESETS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "limits.pulls": {
        "docker-hub": {"limits.pulls.anonymous": "100", "limits.pulls.account": "200", "limits.pulls.window": "6h"}
    }
}
"""Words that may stand for a whole section, and the keys that they mean (protocol.md §4.1)."""

SECTIONS = frozenset(path[:end] for path in SETTINGS for end, character in enumerate(path) if character == ".")
"""Every path that holds keys, as `http` and `http.tls`."""


def value_of(settings: Settings, path: str) -> object:
    """The value of a key."""
    value: object = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value


def assemble(values: Mapping[str, object], section: Any = Settings, prefix: str = "") -> Any:
    """The tree with these values, by key, and defaults everywhere else."""
    chosen: dict[str, object] = {}
    for each in fields(section):
        path = prefix + each.name
        if is_dataclass(each.type):
            chosen[each.name] = assemble(values, each.type, path + ".")
        elif path in values:
            chosen[each.name] = values[path]
    return section(**chosen)
