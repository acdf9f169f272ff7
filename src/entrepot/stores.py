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
    s3 = settings.storage.s3
    if settings.storage.backend == "s3":
        return _bucket(
            s3.bucket, s3.prefix, s3.region, s3.endpoint, s3.access_key_id, s3.secret_access_key, s3.redirect
        )
    from entrepot.storage.filesystem import FileStore

    store = FileStore(settings.data_dir)
    await store.start()
    return store


def backup_bucket(settings: Settings, bucket: str, prefix: str) -> Bytes:
    """A byte store in a bucket for backups: at the server of `backup.s3`, which is that of `storage.s3` if not said."""
    own, usual = settings.backup.s3, settings.storage.s3
    keys = own if own.access_key_id else usual
    region, endpoint = own.region or usual.region, own.endpoint or usual.endpoint
    return _bucket(bucket, prefix, region, endpoint, keys.access_key_id, keys.secret_access_key)


def _bucket(
    bucket: str, prefix: str, region: str, endpoint: str, key: str, secret: str, redirect: bool = False
) -> Bytes:
    from entrepot.storage.objects import ObjectStore

    return ObjectStore(
        bucket=bucket,
        region=region,
        endpoint=endpoint,
        access_key_id=key,
        secret_access_key=secret,
        prefix=prefix,
        redirect=redirect,
    )
