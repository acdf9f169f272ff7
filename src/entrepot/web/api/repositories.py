"""`/repositories` and `/search`: repositories as people see them.

What belongs to a repository stands behind `/-/`, which no name can contain (see grants.py).
"""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from entrepot.hub.repositories import Description, Repositories, Repository
from entrepot.hub.search import Candidate, Search
from entrepot.web.api.organizations import Visibility
from entrepot.web.api.shapes import PAGE, Address, After, AfterNumber, Limit, Page, Time, Who, page


class RepositoryOut(BaseModel):
    """A repository; `archived_at` is null for one that is in use."""

    id: int
    name: str
    visibility: Visibility
    description: str
    stars: int
    created_at: Time
    archived_at: Time | None


class NewRepository(BaseModel):
    """A repository that is to be; without a visibility, as its namespace says."""

    name: str
    visibility: Visibility | None = None
    description: str = ""
    readme: str = ""


class RepositoryChange(BaseModel):
    """What is to be changed; what is left out stays. Each is a change of its own, in this order."""

    visibility: Visibility | None = None
    archived: bool | None = None
    description: str | None = None
    readme: str | None = None


class Readme(BaseModel):
    """A README as it was written: Markdown, to be rendered by whoever shows it."""

    readme: str


class NewName(BaseModel):
    """Another name in the same namespace."""

    name: str


class NewNamespace(BaseModel):
    """Another owner."""

    namespace: str


class Mine(BaseModel):
    """What the caller is to a repository."""

    role: Literal["read", "write", "admin", "owner"]
    starred: bool


class FoundOut(BaseModel):
    """A match of a search; `official`: the installation's own."""

    name: str
    visibility: Visibility
    description: str
    stars: int
    official: bool


def repository_routes(repositories: Repositories) -> APIRouter:
    """Everything about repositories but their grants."""
    routes = APIRouter(prefix="/repositories", tags=["repositories"])

    @routes.get("", response_model=Page[RepositoryOut], summary="What you may see, of one namespace or of all")
    async def list_repositories(
        who: Who, namespace: str = "", after: After = "", limit: Limit = PAGE
    ) -> dict[str, object]:
        found = await repositories.list(who, after, limit + 1, namespace)
        return page(found, [each.name for each in found], limit)

    @routes.post("", response_model=RepositoryOut, status_code=201, summary="Make an empty repository")
    async def create(who: Who, address: Address, new: NewRepository) -> Repository:
        about = Description(new.description, new.readme)
        return await repositories.create(who, new.name, new.visibility, about, address)

    _parts(routes, repositories)
    _moves(routes, repositories)

    @routes.get("/{name:path}", response_model=RepositoryOut, summary="A repository")
    async def get(who: Who, name: str) -> Repository:
        return await repositories.get(who, name)

    @routes.patch("/{name:path}", response_model=RepositoryOut, summary="Change a repository")
    async def change(who: Who, address: Address, name: str, body: RepositoryChange) -> Repository:
        if body.visibility is not None:
            await repositories.set_visibility(who, name, body.visibility, address)
        if body.archived is False:
            await repositories.set_archived(who, name, False, address)
        if body.description is not None or body.readme is not None:
            await repositories.describe(who, name, Description(body.description, body.readme), address)
        if body.archived:
            await repositories.set_archived(who, name, True, address)
        return await repositories.get(who, name)

    @routes.delete("/{name:path}", status_code=204, summary="End a repository with everything in it")
    async def delete(who: Who, address: Address, name: str) -> None:
        await repositories.delete(who, name, address)

    return routes


def open_repository_routes(repositories: Repositories) -> APIRouter:
    """What there is of it without accounts."""
    routes = APIRouter(prefix="/repositories", tags=["repositories"])

    @routes.get("", response_model=Page[RepositoryOut], summary="All repositories")
    async def list_repositories(who: Who, after: After = "", limit: Limit = PAGE) -> dict[str, object]:
        found = await repositories.list(who, after, limit + 1)
        return page(found, [each.name for each in found], limit)

    @routes.get("/{name:path}", response_model=RepositoryOut, summary="A repository")
    async def get(who: Who, name: str) -> Repository:
        return await repositories.get(who, name)

    @routes.delete("/{name:path}", status_code=204, summary="End a repository with everything in it")
    async def delete(who: Who, address: Address, name: str) -> None:
        await repositories.delete(who, name, address)

    return routes


def _parts(routes: APIRouter, repositories: Repositories) -> None:
    @routes.get("/{name:path}/-/readme", response_model=Readme, summary="Its README")
    async def readme(who: Who, name: str) -> Readme:
        return Readme(readme=await repositories.readme(who, name))

    @routes.get("/{name:path}/-/me", response_model=Mine, summary="What you are to it")
    async def mine(who: Who, name: str) -> dict[str, object]:
        role = await repositories.role(who, name)
        return {"role": role.word, "starred": await repositories.starred(who, name)}

    @routes.put("/{name:path}/-/star", status_code=204, summary="Give it your star")
    async def star(who: Who, name: str) -> None:
        await repositories.set_star(who, name, True)

    @routes.delete("/{name:path}/-/star", status_code=204, summary="Take your star back")
    async def unstar(who: Who, name: str) -> None:
        await repositories.set_star(who, name, False)


def _moves(routes: APIRouter, repositories: Repositories) -> None:
    @routes.post("/{name:path}/-/rename", response_model=RepositoryOut, summary="Another name in its namespace")
    async def rename(who: Who, address: Address, name: str, body: NewName) -> Repository:
        return await repositories.rename(who, name, body.name, address)

    @routes.post("/{name:path}/-/transfer", response_model=RepositoryOut, summary="Into another namespace of yours")
    async def transfer(who: Who, address: Address, name: str, body: NewNamespace) -> Repository:
        return await repositories.transfer(who, name, body.namespace, address)


def search_routes(search: Search) -> APIRouter:
    """The search, by relevance; pages go on by number."""
    routes = APIRouter(tags=["search"])

    @routes.get("/search", response_model=Page[FoundOut], summary="Find repositories by name and description")
    async def find(who: Who, q: str, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        found = await search.find(who, q, after, limit + 1)
        return page([_found(each) for each in found], range(after + 1, after + 1 + len(found)), limit)

    return routes


def _found(each: Candidate) -> dict[str, object]:
    return {
        "name": each.name,
        "visibility": each.visibility,
        "description": each.description,
        "stars": each.stars,
        "official": each.official,
    }
