"""Rules of tags: of a repository, of a namespace, of the installation. To be added before repositories' routes."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from entrepot.hub.tag_rules import NewTagRule, TagRules, Where
from entrepot.registry.tag_rules import TagRule
from entrepot.web.api.shapes import PAGE, Address, AfterNumber, Identity, Limit, Page, Who, page


class TagRuleIn(BaseModel):
    """A rule to be made."""

    model_config = ConfigDict(populate_by_name=True)

    kind: str = Field(description="`immutable`: never moved or deleted; `protected`: only by a role.")
    pattern: str = Field(description="Of whole tags, as `v*` or, as RE2, `v[0-9]+`.")
    syntax: str = Field("glob", description="`glob` or `re2`.")
    exceptions: list[str] = Field(
        default_factory=list, alias="except", description="Patterns of tags that are not meant."
    )
    role: str = Field("", description="Of a protected tag: `admin` or `owner`, who may move and delete it.")


class TagRuleOut(TagRuleIn):
    """A rule."""

    model_config = ConfigDict(populate_by_name=True, from_attributes=True)

    id: int
    scope: str = Field(description="What it is of: repository, namespace or installation.")


def tag_rule_routes(rules: TagRules) -> APIRouter:
    """Rules for all repositories."""
    routes = APIRouter(prefix="/tag-rules", tags=["tag rules"])

    @routes.get("", response_model=Page[TagRuleOut], summary="Rules for all repositories")
    async def of_all(who: Who, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        return await _listed(rules, who, Where(), after, limit)

    @routes.post("", response_model=TagRuleOut, status_code=201, summary="Make a rule for all repositories")
    async def add_for_all(who: Who, address: Address, new: TagRuleIn) -> TagRule:
        return await rules.add(who, Where(), _new(new), address)

    @routes.delete("/{id}", status_code=204, summary="Lift a rule for all repositories")
    async def lift_for_all(who: Who, address: Address, id: Identity) -> None:  # noqa: A002 - as the path says it
        await rules.lift(who, Where(), id, address)

    return routes


def repository_tag_rule_routes(rules: TagRules) -> APIRouter:
    """Rules of a repository. To be added before repositories' routes."""
    routes = APIRouter(prefix="/repositories/{name:path}/-/tag-rules", tags=["tag rules"])

    @routes.get("", response_model=Page[TagRuleOut], summary="A repository's own rules")
    async def of_repository(who: Who, name: str, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        return await _listed(rules, who, Where(repository=name), after, limit)

    @routes.post("", response_model=TagRuleOut, status_code=201, summary="Make a rule for a repository")
    async def add_to_repository(who: Who, address: Address, name: str, new: TagRuleIn) -> TagRule:
        return await rules.add(who, Where(repository=name), _new(new), address)

    @routes.delete("/{id}", status_code=204, summary="Lift a rule of a repository")
    async def lift_of_repository(who: Who, address: Address, name: str, id: Identity) -> None:  # noqa: A002
        await rules.lift(who, Where(repository=name), id, address)

    return routes


def namespace_tag_rule_routes(rules: TagRules) -> APIRouter:
    """Rules of a namespace."""
    routes = APIRouter(prefix="/namespaces/{namespace}/tag-rules", tags=["tag rules"])

    @routes.get("", response_model=Page[TagRuleOut], summary="A namespace's own rules")
    async def of_namespace(who: Who, namespace: str, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        return await _listed(rules, who, Where(namespace=namespace), after, limit)

    @routes.post("", response_model=TagRuleOut, status_code=201, summary="Make a rule for a namespace")
    async def add_to_namespace(who: Who, address: Address, namespace: str, new: TagRuleIn) -> TagRule:
        return await rules.add(who, Where(namespace=namespace), _new(new), address)

    @routes.delete("/{id}", status_code=204, summary="Lift a rule of a namespace")
    async def lift_of_namespace(who: Who, address: Address, namespace: str, id: Identity) -> None:  # noqa: A002
        await rules.lift(who, Where(namespace=namespace), id, address)

    return routes


async def _listed(rules: TagRules, who: Who, where: Where, after: int, limit: int) -> dict[str, object]:
    found = await rules.list(who, where, after, limit + 1)
    return page(found, [each.id for each in found], limit)


def _new(wanted: TagRuleIn) -> NewTagRule:
    return NewTagRule(wanted.kind, wanted.syntax, wanted.pattern, tuple(wanted.exceptions), wanted.role)
