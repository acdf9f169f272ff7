"""What must be right before the first worker starts. Each thing that is not is one line that says what to do."""

import os
import secrets
import socket
import ssl
import sys
import traceback
from ipaddress import ip_address
from typing import Any

from entrepot.config import Settings
from entrepot.config.kinds import Address
from entrepot.registry.errors import RegistryError
from entrepot.storage import layout
from entrepot.storage.directories import make_directory, sync_directory

_BACKLOG = 2048


class NotReady(Exception):
    """The server cannot start; the message is the one line."""


def prepare(settings: Settings) -> list[tuple[socket.socket, ...]]:
    """Check the data directory and the certificate, migrate the database, and bind the sockets of each worker."""
    _check_directory(settings)
    _check_certificates(settings)
    if not settings.open:
        root_secret(settings)
        _check_htpasswd(settings)
    listeners = _bind(settings)
    _apart(settings)
    return listeners


def root_secret(settings: Settings) -> bytes:
    """The secret that all keys are derived from: as configured, else of the data directory, made when it has none."""
    if settings.secret_key:
        return settings.secret_key.encode()
    path = layout.secret_file(settings.data_dir)
    if not path.exists():
        fresh = path.with_name(f"{path.name}-{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # whoever is first makes it; nothing is ever overwritten
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        sync_directory(str(settings.data_dir))
    return path.read_bytes()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address to listen on."""
    if host in ("localhost", "ip6-localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_directory(settings: Settings) -> None:
    directory = settings.data_dir
    try:
        make_directory(directory)
        probe = directory / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except PermissionError:
        raise NotReady(
            f"the data directory {directory} cannot be written by user {os.getuid()}:"
            f" run `chown -R {os.getuid()}:{os.getgid()} {directory.absolute()}` as root"
        ) from None
    except OSError as error:
        raise NotReady(f"the data directory {directory} cannot be used: {error.strerror}") from None


def _check_certificates(settings: Settings) -> None:
    tls, authority = settings.http.tls, settings.cluster.ca
    if authority is not None:
        try:
            ssl.create_default_context(cafile=authority)
        except OSError as error:
            raise NotReady(f"the authority {authority} (cluster.ca) cannot be used: {error}") from None
    if tls.certificate is None or tls.key is None:
        return
    from entrepot.web.tls import tls_context

    try:
        tls_context(str(tls.certificate), str(tls.key))
    except OSError as error:
        raise NotReady(f"the certificate {tls.certificate} with the key {tls.key} cannot be used: {error}") from None


def _check_htpasswd(settings: Settings) -> None:
    if settings.auth.htpasswd is None:
        return
    from entrepot.access.htpasswd import Htpasswd, HtpasswdError

    try:
        Htpasswd(settings.auth.htpasswd)
    except HtpasswdError as error:
        raise NotReady(str(error)) from None


def _bind(settings: Settings) -> list[tuple[socket.socket, ...]]:
    """What each worker listens on: the registry's address, and the mirror's when it has one of its own."""
    registry = _bound(settings.http.listen, settings.workers)
    if settings.mirror.listen is None:
        return [(listener,) for listener in registry]
    return list(zip(registry, _bound(settings.mirror.listen, settings.workers), strict=True))


def _bound(where: Address, workers: int) -> list[socket.socket]:
    """One SO_REUSEPORT socket a worker: the kernel spreads connections evenly over them, not over one shared socket."""
    host, port = where.host.strip("[]"), where.port
    sockets: list[socket.socket] = []
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        _refuse_taken(family, address)
        for _ in range(workers):
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            sockets.append(listener)
            address = listener.getsockname()
    except OSError as error:
        raise NotReady(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return sockets


def _refuse_taken(family: int, address: Any) -> None:
    """SO_REUSEPORT would let a second server of the same user share the port without a word."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _apart(settings: Settings) -> None:
    """Migrate in a process of its own, so that no connection, thread or library of it reaches the workers."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            migrate(settings)
            if settings.upstreams:
                _check_aliases(settings)
            if not settings.open:
                _first_start(settings)
            status = 0
        except NotReady as error:
            print(f"entrepot: {error}", file=sys.stderr)  # noqa: T201
        except RegistryError as error:
            print(f"entrepot: {error.message}", file=sys.stderr)  # noqa: T201
        except Exception as error:
            if settings.log.level == "debug":
                traceback.print_exc()
            print(f"entrepot: the database cannot be prepared: {error}".splitlines()[0], file=sys.stderr)  # noqa: T201
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status:
        raise NotReady("stopped, as the database is not ready")


def _check_aliases(settings: Settings) -> None:
    from entrepot.first_start import hosted_under_an_alias

    name = hosted_under_an_alias(settings)
    if name is not None:
        alias = name.partition("/")[0]
        raise NotReady(
            f"the repository {name} is hosted here, and {alias} is an upstream now, whose repositories are read from"
            " there: start without that upstream, copy the repository to another name, and delete it"
        )


def _first_start(settings: Settings) -> None:
    from entrepot.database.adoption import CannotAdopt
    from entrepot.first_start import first_start

    try:
        first_start(settings)
    except CannotAdopt as error:
        raise NotReady(str(error)) from None


def migrate(settings: Settings) -> None:
    """Bring the database up to this version of the program, if it is not."""
    if settings.database.url:
        from entrepot.database.version import postgres_is_current

        if not postgres_is_current(settings.database.url):
            from entrepot.database.migrate import migrate_postgres

            migrate_postgres(settings.database.url)
        return
    from entrepot.database.version import sqlite_is_current

    path = layout.database_file(settings.data_dir)
    if not sqlite_is_current(path):
        from entrepot.database.migrate import migrate_sqlite

        migrate_sqlite(path)
