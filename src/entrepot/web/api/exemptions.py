"""`/repositories/NAME/-/pulls` and `/namespaces/NAME/pulls`: whose pulls are charged to nobody."""

from fastapi import APIRouter
from pydantic import BaseModel

from entrepot.hub.exemptions import Exemption, Exemptions
from entrepot.web.api.accounts import Input
from entrepot.web.api.shapes import Address, Who


class ExemptionOut(BaseModel):
    """`pulls_exempt`: said of this itself; `in_effect`: of this, or of the namespace that it is in."""

    pulls_exempt: bool
    in_effect: bool


class ExemptionIn(Input):
    """Whether pulls are to be charged to nobody."""

    pulls_exempt: bool


def exemption_routes(exemptions: Exemptions) -> APIRouter:
    """Of repositories and of namespaces."""
    routes = APIRouter(tags=["limits"])

    @routes.get(
        "/repositories/{name:path}/-/pulls", response_model=ExemptionOut, summary="Whether its pulls count for nobody"
    )
    async def of_repository(who: Who, name: str) -> Exemption:
        return await exemptions.of_repository(who, name)

    @routes.put(
        "/repositories/{name:path}/-/pulls",
        response_model=ExemptionOut,
        summary="Let its pulls count for nobody, as an administrator",
    )
    async def exempt_repository(who: Who, address: Address, name: str, body: ExemptionIn) -> Exemption:
        return await exemptions.exempt_repository(who, name, body.pulls_exempt, address)

    @routes.get(
        "/namespaces/{namespace}/pulls", response_model=ExemptionOut, summary="Whether pulls from it count for nobody"
    )
    async def of_namespace(namespace: str) -> Exemption:
        return await exemptions.of_namespace(namespace)

    @routes.put(
        "/namespaces/{namespace}/pulls",
        response_model=ExemptionOut,
        summary="Let pulls from it count for nobody, as an administrator",
    )
    async def exempt_namespace(who: Who, address: Address, namespace: str, body: ExemptionIn) -> Exemption:
        return await exemptions.exempt_namespace(who, namespace, body.pulls_exempt, address)

    return routes
