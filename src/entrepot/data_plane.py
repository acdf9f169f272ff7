"""Puts the data plane together: blobs, uploads and manifests over a database and a byte store."""

from typing import NamedTuple

from entrepot.config import Settings
from entrepot.database.blobs import DatabaseBlobs
from entrepot.database.cache import ReadCache
from entrepot.database.deletion import DatabaseDeletions
from entrepot.database.engine import Engine
from entrepot.database.history import DatabaseHistory
from entrepot.database.manifests import DatabaseManifests
from entrepot.database.uploads import DatabaseUploads
from entrepot.jobs.runner import rest
from entrepot.jobs.uploads import UploadCleaning
from entrepot.registry.blobs import Blobs
from entrepot.registry.deletion import Deletions
from entrepot.registry.garbage import Ages
from entrepot.registry.history import History
from entrepot.registry.manifests import Manifests
from entrepot.registry.ports import Bytes
from entrepot.registry.purging import Downloads
from entrepot.registry.uploads import Uploads


class DataPlane(NamedTuple):
    """The use-cases of a worker, and the rows that they share."""

    upload_rows: DatabaseUploads
    blob_rows: DatabaseBlobs
    manifest_rows: DatabaseManifests
    uploads: Uploads
    blobs: Blobs
    manifests: Manifests
    deletions: Deletions
    history: History
    cleaning: UploadCleaning
    downloads: Downloads


def make_data_plane(settings: Settings, engine: Engine, store: Bytes) -> DataPlane:
    """The data plane of a worker."""
    cache = ReadCache(engine)
    upload_rows = DatabaseUploads(engine)
    blob_rows = DatabaseBlobs(engine, cache, settings.lifecycle.grace)
    manifest_rows = DatabaseManifests(engine, cache)
    accept_missing = settings.manifests.missing == "accept"
    return DataPlane(
        upload_rows,
        blob_rows,
        manifest_rows,
        Uploads(upload_rows, blob_rows, store, settings.uploads.lifetime),
        Blobs(blob_rows, manifest_rows),
        Manifests(manifest_rows, accept_missing=accept_missing),
        Deletions(DatabaseDeletions(engine), manifest_rows, enabled=settings.storage.delete.enabled),
        History(DatabaseHistory(engine), manifest_rows),
        UploadCleaning(upload_rows, {store.name: store}, rest),
        Downloads(),
    )


def ages_of(settings: Settings) -> Ages:
    """How long the phases of what is deleted or loose are."""
    return Ages(settings.lifecycle.undo, settings.lifecycle.grace, settings.lifecycle.quarantine)
