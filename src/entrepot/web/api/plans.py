"""`/plans`: what accounts and organizations may have."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from entrepot.hub.plans import Plan, Plans
from entrepot.web.api.shapes import PAGE, Address, After, Limit, Page, Who, page

Count = Annotated[int, Field(ge=0, le=2**53)]  # JSON's numbers are exact up to here


class PlanLimits(BaseModel):
    """The limits of a plan; null is without one. `storage` in bytes.

    `pulls` in a window: null is what the settings say, -1 without limit.
    """

    private_repositories: Count | None = None
    storage: Count | None = None
    pulls: Annotated[int, Field(ge=-1, le=2**53)] | None = None


class PlanBody(PlanLimits):
    """A plan."""

    name: str


def plan_routes(plans: Plans) -> APIRouter:
    """Plans: everybody sees them, administrators change them."""
    routes = APIRouter(prefix="/plans", tags=["plans"])

    @routes.get("", response_model=Page[PlanBody], summary="The plans")
    async def list_plans(after: After = "", limit: Limit = PAGE) -> dict[str, object]:
        found = await plans.list(after, limit + 1)
        return page(found, [each.name for each in found], limit)

    @routes.post("", response_model=PlanBody, status_code=201, summary="Make a plan")
    async def create(who: Who, address: Address, new: PlanBody) -> Plan:
        plan = Plan(new.name, new.private_repositories, new.storage, new.pulls)
        await plans.create(who, plan, address)
        return plan

    @routes.put("/{name}", response_model=PlanBody, summary="Give a plan other limits")
    async def change(who: Who, address: Address, name: str, body: PlanLimits) -> Plan:
        plan = Plan(name, body.private_repositories, body.storage, body.pulls)
        await plans.change(who, plan, address)
        return plan

    @routes.delete("/{name}", status_code=204, summary="End a plan that nobody has")
    async def delete(who: Who, address: Address, name: str) -> None:
        await plans.delete(who, name, address)

    return routes
