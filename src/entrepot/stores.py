"""The database and the byte store that the settings name; drivers are loaded only when they are used."""

from entrepot.config import Settings
from entrepot.database.engine import Engine
from entrepot.registry.ports import Bytes
from entrepot.storage import layout


def database(settings: Settings) -> Engine:
    """The engine that the settings name."""
    if settings.database.url:
        from entrepot.database.postgres import PostgresEngine

        return PostgresEngine(settings.database.url)
    from entrepot.database.sqlite import SqliteEngine

    return SqliteEngine(layout.database_file(settings.data_dir), layout.lock_file(settings.data_dir))


async def byte_store(settings: Settings) -> Bytes:
    """The byte store that the settings name."""
    if settings.storage.backend == "s3":
        s3 = settings.storage.s3
        return bucket_store(settings, s3.bucket, s3.prefix, redirect=s3.redirect)
    from entrepot.storage.filesystem import FileStore

    store = FileStore(settings.data_dir)
    await store.start()
    return store


def bucket_store(settings: Settings, bucket: str, prefix: str, *, redirect: bool = False) -> Bytes:
    """A byte store in a bucket of the S3 server that the settings name."""
    from entrepot.storage.objects import ObjectStore

    s3 = settings.storage.s3
    return ObjectStore(
        bucket=bucket,
        region=s3.region,
        endpoint=s3.endpoint,
        access_key_id=s3.access_key_id,
        secret_access_key=s3.secret_access_key,
        prefix=prefix,
        redirect=redirect,
    )
