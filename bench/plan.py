"""Every row of the table and its targets, as issues 3 and 4 have them, "How fast"."""

from bench import memory, metadata, people, pulls, pushes
from bench.content import MIB
from bench.entrepot import Entrepot, EntrepotS3, EntrepotTls
from bench.hub import DistributionTokens, EntrepotHub, EntrepotHubOne, EntrepotHubRedis, EntrepotOne
from bench.rows import Row, Target
from bench.servers import Distribution, DockerRegistry, Nginx, Server

_REGISTRIES: tuple[type[Server], ...] = (DockerRegistry, Distribution, Entrepot)
_READERS: tuple[type[Server], ...] = (DockerRegistry, Distribution, Nginx, Entrepot, EntrepotTls, EntrepotS3)
_WRITERS: tuple[type[Server], ...] = (*_REGISTRIES, EntrepotTls, EntrepotS3)
_WITH_ACCOUNTS: tuple[type[Server], ...] = (EntrepotHub, EntrepotHubOne, EntrepotHubRedis, DistributionTokens)
SERVERS: tuple[type[Server], ...] = (*_READERS, EntrepotOne, *_WITH_ACCOUNTS)

ROWS = (
    Row(
        key="manifest",
        title=f"manifest GET by tag, {pulls.CONNECTIONS} connections",
        unit="/s",
        measure=pulls.manifest_by_tag,
        servers=_READERS,
        targets=(
            Target("rate", 10, DockerRegistry),
            Target("p99", 1 / 3, DockerRegistry),
            Target("rate", 3, Distribution),
            Target("p99", 1 / 3, Distribution),
        ),
    ),
    Row(
        key="accounts",
        title=f"manifest GET with a token and a limit, {pulls.CONNECTIONS} connections",
        unit="/s",
        measure=pulls.manifest_by_tag,
        servers=(DistributionTokens, Entrepot, EntrepotHub, EntrepotHubRedis),
        ours=EntrepotHub,
        targets=(Target("rate", 0.8, Entrepot), Target("rate", 1, DistributionTokens)),
    ),
    Row(
        key="accounts-1",
        title="the same with one worker",
        unit="/s",
        measure=pulls.manifest_by_tag,
        servers=(EntrepotOne, EntrepotHubOne),
        ours=EntrepotHubOne,
        targets=(Target("rate", 0.8, EntrepotOne),),
    ),
    Row(
        key="tokens",
        title="tokens issued, one worker",
        unit="/s",
        measure=pulls.tokens,
        servers=(EntrepotHubOne,),
        ours=EntrepotHubOne,
        targets=(Target("rate", 1500),),
    ),
    Row(
        key="blob-4k",
        title=f"blob GET 4 KiB, {pulls.CONNECTIONS} connections",
        unit="/s",
        measure=pulls.blob_of_4_kib,
        servers=_READERS,
        targets=(Target("rate", 10, Distribution),),
    ),
    Row(
        key="blob-1m",
        title=f"blob GET 1 MiB, {pulls.CONNECTIONS} connections",
        unit="/s",
        measure=pulls.blob_of_1_mib,
        servers=_READERS,
        targets=(Target("rate", 1, Nginx),),
    ),
    Row(
        key="stream",
        title="blob GET 200 MiB, one stream",
        unit=" MiB/s",
        measure=pulls.one_stream,
        servers=_READERS,
        targets=(Target("rate", 0.8, Nginx),),
    ),
    Row(
        key="push",
        title="blob push 200 MiB (POST, PATCH, PUT)",
        unit=" MiB/s",
        measure=pushes.large_blob,
        servers=_WRITERS,
        targets=(Target("rate", 2, DockerRegistry), Target("rate", 2, Distribution)),
    ),
    Row(
        key="images",
        title=f"small images pushed by {pushes.CLIENTS} clients",
        unit="/s",
        measure=pushes.small_images,
        servers=_WRITERS,
        targets=(Target("rate", 2, Distribution),),
    ),
    Row(
        key="memory",
        title=f"{memory.PARALLEL} pushes, then pulls, of 1 GiB at once: peak PSS",
        unit=" MiB/s",
        measure=memory.parallel_pushes_and_pulls,
        servers=_REGISTRIES,
        targets=(Target("pss", 250 * MIB),),
        alone=True,
    ),
    Row(
        key="stalled",
        title=f"{memory.STALLED_CLIENTS} clients stop reading: growth of PSS",
        unit="",
        measure=memory.clients_that_stop_reading,
        servers=_REGISTRIES,
        targets=(Target("pss", 60 * MIB),),
        alone=True,
    ),
    Row(
        key="start",
        title="start-up, 100,000 manifests stored",
        unit="",
        measure=metadata.start_up,
        servers=(Entrepot,),
        targets=(Target("p99", 1),),
        alone=True,
    ),
    Row(
        key="tags",
        title="tags/list?n=100 of 100,000 tags",
        unit="/s",
        measure=metadata.tags_list,
        servers=(Entrepot,),
        targets=(Target("p99", 0.005),),
        alone=True,
    ),
    Row(
        key="catalog",
        title="_catalog?n=100 of 1,000 repositories",
        unit="/s",
        measure=metadata.catalog,
        servers=(Entrepot,),
        targets=(Target("p99", 0.005),),
        alone=True,
    ),
    Row(
        key="permissions",
        title="decisions, each with its look-up, 1,000,000 accounts",
        unit="/s",
        measure=people.permissions,
        servers=(EntrepotHub,),
        ours=EntrepotHub,
        targets=(Target("p99", 0.001),),
        alone=True,
    ),
    Row(
        key="hub-catalog",
        title="catalog pages with 1,000,000 accounts",
        unit="/s",
        measure=people.catalog_of_a_hub,
        servers=(EntrepotHub,),
        ours=EntrepotHub,
        targets=(Target("p99", 0.02),),
        alone=True,
    ),
    Row(
        key="hub-search",
        title="search pages with 100,000 repositories",
        unit="/s",
        measure=people.search_of_a_hub,
        servers=(EntrepotHub,),
        ours=EntrepotHub,
        targets=(Target("p99", 0.02),),
        alone=True,
    ),
)
