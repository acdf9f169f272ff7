"""Backup and restore from the command line, beside a server that may be running."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from entrepot.administration import NotPrepared, is_prepared
from entrepot.config import Settings
from entrepot.database.snapshots import BackedUpRows, FilledRows, PostgresSnapshots, Snapshots, SqliteSnapshots
from entrepot.registry.backup_places import Place
from entrepot.registry.backups import Backup, Report, Restore, Told, newest
from entrepot.registry.errors import StorageError
from entrepot.storage import layout
from entrepot.storage.directories import make_directory, sync_directory
from entrepot.stores import backup_bucket, byte_store, database

_S3 = "s3://"


async def back_up(
    settings: Settings,
    where: str,
    begin: Callable[[int], Told],
    *,
    rehash: bool,
    keep: int | None,
    take_over: bool,
) -> Report:
    """Make a backup at `where`; NotPrepared when there is nothing to back up yet. The rest: see Backup."""
    if not await asyncio.to_thread(is_prepared, settings):
        raise NotPrepared("there is no database of this version yet: start `entrepot serve` once, then try again")
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(_place(settings, where))
        engine = database(settings)
        stack.push_async_callback(engine.close)
        store = await byte_store(settings)
        stack.push_async_callback(store.close)
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix=".backup-", dir=settings.data_dir))
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        backup = Backup(BackedUpRows(engine, _snapshots(settings)), store, place, keep)
        return await backup.run(name, Path(work), begin, rehash=rehash, take_over=take_over)


async def restore(settings: Settings, where: str, name: str | None, begin: Callable[[int], Told]) -> Report:
    """Restore the snapshot `name`, or the newest, of the backup at `where`."""
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(_place(settings, where))
        try:
            make_directory(settings.data_dir)
        except OSError as error:
            raise StorageError(f"the data directory {settings.data_dir} cannot be made: {error.strerror}") from None
        store = await byte_store(settings)
        stack.push_async_callback(store.close)
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.data_dir))
        rows = FilledRows(lambda: database(settings), _snapshots(settings))
        return await Restore(rows, store, place).run(await newest(place, name), Path(work), begin)


async def snapshots(settings: Settings, where: str) -> list[str]:
    """The names of the snapshots there, the oldest first."""
    async with _place(settings, where) as place:
        return await place.snapshots()


@asynccontextmanager
async def _place(settings: Settings, where: str) -> AsyncIterator[Place]:
    if not where.startswith(_S3):
        from entrepot.storage.places import DirectoryPlace

        if "://" in where:
            raise StorageError(f"{where} is neither a directory nor s3://BUCKET or s3://BUCKET/PREFIX")
        if await asyncio.to_thread(_same, Path(where), settings.data_dir):
            raise StorageError(f"{where} is the data directory itself: a backup belongs elsewhere, on another disk")
        yield DirectoryPlace(Path(where))
        return
    from entrepot.storage.places import BucketPlace

    bucket, _, prefix = where.removeprefix(_S3).partition("/")
    if not bucket:
        raise StorageError(f"{where} names no bucket: s3://BUCKET or s3://BUCKET/PREFIX")
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    s3 = settings.storage.s3
    same_server = settings.backup.s3.endpoint in ("", s3.endpoint)
    if settings.storage.backend == "s3" and same_server and (bucket, prefix) == (s3.bucket, s3.prefix):
        raise StorageError(f"{where} is where the registry keeps its bytes: a backup belongs elsewhere")
    blobs, rows = backup_bucket(settings, bucket, prefix), backup_bucket(settings, bucket, f"{prefix}snapshots/")
    try:
        yield BucketPlace(blobs, rows)
    finally:
        await blobs.close()
        await rows.close()


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _snapshots(settings: Settings) -> Snapshots:
    if settings.database.url:
        return PostgresSnapshots(settings.database.url)
    return SqliteSnapshots(layout.database_file(settings.data_dir), sync_directory)
