"""`/namespaces`: accounts and organizations alike, as the owners of repositories."""

from fastapi import APIRouter
from pydantic import BaseModel

from entrepot.hub.organizations import Namespace, Organizations
from entrepot.hub.plans import Plans
from entrepot.web.api.organizations import NamespaceOut, SettingsIn
from entrepot.web.api.shapes import Address, Who


class PlanOf(BaseModel):
    """The plan that an account or organization is to have."""

    plan: str


def namespace_routes(organizations: Organizations, plans: Plans) -> APIRouter:
    """What every owner of repositories has. The repositories are `/repositories?namespace=`."""
    routes = APIRouter(prefix="/namespaces", tags=["namespaces"])

    @routes.get("/{namespace}", response_model=NamespaceOut, summary="An account or organization")
    async def get(namespace: str) -> Namespace:
        return await organizations.namespace(namespace)

    @routes.patch("/{namespace}", response_model=NamespaceOut, summary="Change its settings")
    async def change(who: Who, address: Address, namespace: str, body: SettingsIn) -> Namespace:
        return await organizations.change(who, namespace, body.settings(), address)

    @routes.put("/{namespace}/plan", response_model=NamespaceOut, summary="Set its plan, as an administrator")
    async def give_plan(who: Who, address: Address, namespace: str, body: PlanOf) -> Namespace:
        await plans.give(who, namespace, body.plan, address)
        return await organizations.namespace(namespace)

    return routes
