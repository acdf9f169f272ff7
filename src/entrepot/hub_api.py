"""Puts the API together: one use-case and one module of routes a resource."""

import hmac
from collections.abc import Callable
from hashlib import sha256

from fastapi import APIRouter

from entrepot.access.keys import derive
from entrepot.config import Settings
from entrepot.data_plane import DataPlane
from entrepot.database.accounts import DatabaseAccounts
from entrepot.database.audit import DatabaseAudit
from entrepot.database.deleted_repositories import DatabaseDeletedRepositories
from entrepot.database.digests import DatabaseDigests
from entrepot.database.exemptions import DatabaseExemptions
from entrepot.database.grants import DatabaseGrants
from entrepot.database.hub_repositories import DatabaseHubRepositories
from entrepot.database.invitations import DatabaseInvitations
from entrepot.database.organizations import DatabaseOrganizations
from entrepot.database.plans import DatabasePlans
from entrepot.database.purge_rows import DatabasePurges
from entrepot.database.quotas import DatabaseStorage
from entrepot.database.robots import DatabaseRobots
from entrepot.database.scrub_report import DatabaseScrubReport
from entrepot.database.tag_rules import DatabaseTagRules
from entrepot.database.teams import DatabaseTeams
from entrepot.database.tokens import DatabaseTokens
from entrepot.database.usage import DatabaseUsage
from entrepot.gatehouse import Gatehouse
from entrepot.hub.accounts import Accounts
from entrepot.hub.audit import Audit
from entrepot.hub.deleted_repositories import DeletedRepositories
from entrepot.hub.digests import Digests
from entrepot.hub.exemptions import Exemptions
from entrepot.hub.grants import Grants
from entrepot.hub.images import Images
from entrepot.hub.invitations import Invitations
from entrepot.hub.limits import LimitViews
from entrepot.hub.organizations import Organizations
from entrepot.hub.plans import Plans
from entrepot.hub.purging import Purging
from entrepot.hub.repositories import Repositories
from entrepot.hub.retention import Retention
from entrepot.hub.robots import Robots
from entrepot.hub.scrub import ScrubReport
from entrepot.hub.search import Search
from entrepot.hub.tag_rules import TagRules
from entrepot.hub.teams import Teams
from entrepot.hub.tokens import Tokens
from entrepot.hub.usage import Usage
from entrepot.proxy.upstream import Upstreams
from entrepot.proxying import Cache
from entrepot.web.api.accounts import account_routes, administration_routes
from entrepot.web.api.audit import audit_routes
from entrepot.web.api.deleted_repositories import deleted_repository_routes
from entrepot.web.api.digests import digest_routes
from entrepot.web.api.exemptions import exemption_routes
from entrepot.web.api.frame import Api
from entrepot.web.api.grants import grant_routes
from entrepot.web.api.images import image_routes
from entrepot.web.api.invitations import invitation_routes
from entrepot.web.api.limits import limit_routes, usage_routes
from entrepot.web.api.namespaces import namespace_routes
from entrepot.web.api.organizations import organization_routes
from entrepot.web.api.plans import plan_routes
from entrepot.web.api.purging import installation_purge_routes, purge_list_routes, purge_routes
from entrepot.web.api.repositories import repository_routes, search_routes
from entrepot.web.api.retention import namespace_retention_routes, retention_routes
from entrepot.web.api.robots import robot_routes
from entrepot.web.api.scrub import scrub_routes
from entrepot.web.api.tag_rules import namespace_tag_rule_routes, repository_tag_rule_routes, tag_rule_routes
from entrepot.web.api.teams import team_routes
from entrepot.web.api.tokens import session_routes, token_routes
from entrepot.web.api.upstreams import upstream_routes


def make_api(
    settings: Settings, house: Gatehouse, search: Search, plane: DataPlane, caching: Cache, retention: Retention
) -> Api:
    """The API of a worker."""
    engine, rights = house.engine, house.rights
    organizations = Organizations(DatabaseOrganizations(engine), rights, retired_name_key(house.root))
    plans = Plans(DatabasePlans(engine))
    accounts = make_accounts(settings, house)
    usage = Usage(DatabaseUsage(engine))
    tokens = make_tokens(house)
    return Api(
        [
            account_routes(accounts),
            administration_routes(accounts),
            invitation_routes(Invitations(DatabaseInvitations(engine), accounts, rights, house.secrets)),
            token_routes(tokens),
            session_routes(tokens),
            audit_routes(Audit(DatabaseAudit(engine), rights)),
            organization_routes(organizations),
            team_routes(Teams(DatabaseTeams(engine), rights)),
            robot_routes(Robots(DatabaseRobots(engine), rights, house.secrets)),
            grant_routes(Grants(DatabaseGrants(engine), rights)),
            *_lifecycle(house, plane, settings.lifecycle.undo, caching.upstreams, retention),
            exemption_routes(Exemptions(DatabaseExemptions(engine), rights)),
            repository_routes(Repositories(DatabaseHubRepositories(engine), rights)),
            limit_routes(LimitViews(house.limits, house.counter, usage, DatabaseStorage(engine), rights)),
            usage_routes(usage, rights),
            search_routes(search),
            plan_routes(plans),
            upstream_routes(caching.upstreams, caching.ledger, caching.manifests),
            scrub_routes(ScrubReport(DatabaseScrubReport(engine))),
            namespace_routes(organizations, plans),
        ],
        house.login,
        house.requests,
    )


def _lifecycle(
    house: Gatehouse, plane: DataPlane, undo: float, upstreams: Upstreams, retention: Retention
) -> list[APIRouter]:
    """What was, what goes, and what must not go: all of it before the routes of repositories."""
    engine, rights = house.engine, house.rights
    rules = TagRules(DatabaseTagRules(engine), rights)
    aliases = {each.alias for each in upstreams}
    purging = Purging(DatabasePurges(engine), rights, plane.cleaning, aliases, counts_pulls=True)
    return [
        digest_routes(Digests(DatabaseDigests(engine), rights)),
        tag_rule_routes(rules),
        repository_tag_rule_routes(rules),
        namespace_tag_rule_routes(rules),
        purge_routes(purging),
        purge_list_routes(purging),
        installation_purge_routes(purging),
        retention_routes(retention),
        namespace_retention_routes(retention),
        deleted_repository_routes(DeletedRepositories(DatabaseDeletedRepositories(engine, undo), rights)),
        image_routes(Images(rights, plane.deletions, plane.history)),
    ]


def make_accounts(settings: Settings, house: Gatehouse) -> Accounts:
    """The use-case of accounts."""
    return Accounts(
        DatabaseAccounts(house.engine),
        house.passwords,
        house.login,
        retired_name_key(house.root),
        sign_up=settings.accounts.sign_up == "open",
        passwords_here=settings.auth.htpasswd is None,
    )


def make_tokens(house: Gatehouse) -> Tokens:
    """The use-case of people's credentials."""
    return Tokens(DatabaseTokens(house.engine), house.rights, house.secrets, house.login)


def retired_name_key(root: bytes) -> Callable[[str], str]:
    """How the name of a deleted account is kept, so that nobody gets it again and nobody can read it."""
    key = derive(root, "retired names")
    return lambda name: hmac.new(key, name.encode(), sha256).hexdigest()
