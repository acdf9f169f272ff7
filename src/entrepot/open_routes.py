"""The routes of the API that there are without accounts: what concerns images, and everybody may do."""

from entrepot.access.request_limits import RequestLimits
from entrepot.access.rights import Rights
from entrepot.config import Settings
from entrepot.data_plane import DataPlane
from entrepot.database.deleted_repositories import DatabaseDeletedRepositories
from entrepot.database.digests import DatabaseDigests
from entrepot.database.engine import Engine
from entrepot.database.hub_repositories import DatabaseHubRepositories
from entrepot.database.purge_rows import DatabasePurges
from entrepot.database.scrub_report import DatabaseScrubReport
from entrepot.database.tag_rules import DatabaseTagRules
from entrepot.hub.deleted_repositories import DeletedRepositories
from entrepot.hub.digests import Digests
from entrepot.hub.images import Images
from entrepot.hub.purging import Purging
from entrepot.hub.repositories import Repositories
from entrepot.hub.retention import Retention
from entrepot.hub.scrub import ScrubReport
from entrepot.hub.tag_rules import TagRules
from entrepot.web.api.deleted_repositories import open_deleted_repository_routes
from entrepot.web.api.digests import digest_routes
from entrepot.web.api.frame import Api
from entrepot.web.api.images import image_routes
from entrepot.web.api.purging import installation_purge_routes, purge_routes
from entrepot.web.api.repositories import open_repository_routes
from entrepot.web.api.retention import retention_routes
from entrepot.web.api.scrub import scrub_routes
from entrepot.web.api.tag_rules import repository_tag_rule_routes, tag_rule_routes


def make_open_api(
    settings: Settings,
    engine: Engine,
    rights: Rights,
    plane: DataPlane,
    retention: Retention,
    requests: RequestLimits,
) -> Api:
    """The API of a worker."""
    rules = TagRules(DatabaseTagRules(engine), rights)
    purging = Purging(DatabasePurges(engine), rights, plane.cleaning, (), counts_pulls=False)
    deleted = DeletedRepositories(DatabaseDeletedRepositories(engine, settings.lifecycle.undo), rights)
    return Api(
        [
            digest_routes(Digests(DatabaseDigests(engine), rights)),
            tag_rule_routes(rules),
            repository_tag_rule_routes(rules),
            purge_routes(purging),
            installation_purge_routes(purging),
            retention_routes(retention),
            open_deleted_repository_routes(deleted),
            image_routes(Images(rights, plane.deletions, plane.history)),
            scrub_routes(ScrubReport(DatabaseScrubReport(engine))),
            open_repository_routes(Repositories(DatabaseHubRepositories(engine), rights)),
        ],
        None,
        requests,
    )
