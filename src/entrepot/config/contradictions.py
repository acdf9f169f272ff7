"""What of the settings cannot be true together."""

from collections.abc import Iterator

from entrepot.config.settings import Settings


def contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """What cannot be true together, as (key, what is wrong with it)."""
    tls, s3 = settings.http.tls, settings.storage.s3
    if tls.certificate is not None and tls.key is None:
        yield "http.tls.certificate", "needs http.tls.key as well"
    if tls.key is not None and tls.certificate is None:
        yield "http.tls.key", "needs http.tls.certificate as well"
    if settings.storage.backend == "s3" and not s3.bucket:
        yield "storage.backend", "is s3, which needs storage.s3.bucket"
    if s3.access_key_id and not s3.secret_access_key:
        yield "storage.s3.access_key_id", "needs storage.s3.secret_access_key as well"
    if s3.secret_access_key and not s3.access_key_id:
        yield "storage.s3.secret_access_key", "needs storage.s3.access_key_id as well"
    if bool(settings.backup.s3.access_key_id) != bool(settings.backup.s3.secret_access_key):
        yield "backup.s3.access_key_id", "and backup.s3.secret_access_key go together: set both, or neither"
    if (
        settings.open
        and not settings.mirror.everywhere
        and not settings.open_to_network
        and not settings.http.listen.loopback
    ):
        yield (
            "http.listen",
            f"is {settings.http.listen}, where other machines reach it, and open lets all of them push:"
            " type --open-to-network as well if that is meant, or listen on 127.0.0.1",
        )
    for upstream in (each.upstream for each in settings.upstreams):
        if settings.open and not upstream.everyone:
            yield (
                "upstreams",
                f"has {upstream.alias}, which is not for everyone, and open lets everyone read it:"
                " write `read: everyone` there if that is meant",
            )
    yield from _contradictions_of_mirror(settings)
    yield from _contradictions_of_cluster(settings)
    if settings.database.url and not settings.open and not settings.secret_key:
        yield "secret_key", "must be set where accounts are on PostgreSQL: the same on every node"


def _contradictions_of_mirror(settings: Settings) -> Iterator[tuple[str, str]]:
    mirror = settings.mirror
    if mirror.listen is None and not mirror.everywhere:
        return
    upstream = next((each.upstream for each in settings.upstreams if each.upstream.alias == mirror.upstream), None)
    if upstream is None:
        yield "mirror.upstream", f"is {mirror.upstream}, which is not among upstreams"
    elif not upstream.everyone:
        yield "mirror.upstream", f"is {mirror.upstream}, which a mirror would show to everybody: set its read: everyone"
    if mirror.listen is not None and mirror.listen.port == settings.http.listen.port and mirror.listen.port:
        yield "mirror.listen", "has the port of http.listen: take another one"


def _contradictions_of_cluster(settings: Settings) -> Iterator[tuple[str, str]]:
    if not settings.cluster.advertise:
        return
    if not settings.database.url:
        yield "cluster.advertise", "needs database.url: nodes share a PostgreSQL database"
    elif not settings.secret_key:
        yield "cluster.advertise", "needs secret_key, the same on every node: it signs what they ask each other"
