"""`/organizations/{organization}/robots`: accounts for machines, and their tokens."""

from dataclasses import asdict

from fastapi import APIRouter, Response
from pydantic import BaseModel

from entrepot.hub.robots import Robot, Robots
from entrepot.web.api.shapes import PAGE, Address, After, Limit, Page, Time, Who, page


class RobotOut(BaseModel):
    """A robot; the times of its token are null when it has none."""

    id: int
    name: str
    description: str
    created_at: Time
    token_created_at: Time | None
    token_expires_at: Time | None
    token_used_at: Time | None


class RobotWithToken(RobotOut):
    """A robot with its token, which is shown this once: log in with `name` and `token`."""

    token: str


class NewRobot(BaseModel):
    """A robot that is to be; its name becomes `organization+name`."""

    name: str
    description: str = ""
    expires_in_days: int | None = None


class NewToken(BaseModel):
    """How long a token lives; null is without an end."""

    expires_in_days: int | None = None


def robot_routes(robots: Robots) -> APIRouter:
    """Everything about robots, for owners."""
    routes = APIRouter(prefix="/organizations/{organization}/robots", tags=["robots"])

    @routes.get("", response_model=Page[RobotOut], summary="The robots of an organization")
    async def list_robots(who: Who, organization: str, after: After = "", limit: Limit = PAGE) -> dict[str, object]:
        found = await robots.list(who, organization, after, limit + 1)
        return page(found, [each.name for each in found], limit)

    @routes.post("", response_model=RobotWithToken, status_code=201, summary="Make a robot and its token")
    async def create(
        who: Who, address: Address, response: Response, organization: str, new: NewRobot
    ) -> dict[str, object]:
        made = await robots.create(who, organization, new.name, new.description, new.expires_in_days, address)
        return _with_token(response, *made)

    @routes.get("/{robot}", response_model=RobotOut, summary="A robot, by its name in the organization")
    async def get(who: Who, organization: str, robot: str) -> Robot:
        return await robots.get(who, organization, robot)

    @routes.post("/{robot}/token", response_model=RobotWithToken, summary="Another token; the one before ends at once")
    async def rotate(
        who: Who, address: Address, response: Response, organization: str, robot: str, new: NewToken
    ) -> dict[str, object]:
        return _with_token(response, *await robots.rotate(who, organization, robot, new.expires_in_days, address))

    @routes.delete("/{robot}/token", status_code=204, summary="End its token; its grants stay")
    async def revoke(who: Who, address: Address, organization: str, robot: str) -> None:
        await robots.revoke(who, organization, robot, address)

    @routes.delete("/{robot}", status_code=204, summary="End a robot with its token and grants")
    async def delete(who: Who, address: Address, organization: str, robot: str) -> None:
        await robots.delete(who, organization, robot, address)

    return routes


def _with_token(response: Response, robot: Robot, token: str) -> dict[str, object]:
    response.headers["cache-control"] = "no-store"
    return asdict(robot) | {"token": token}
