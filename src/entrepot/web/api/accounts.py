"""`/account`, `/accounts` and, for administrators, `/admin/accounts`."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from entrepot.hub.accounts import Account, Accounts, Changes
from entrepot.web.api.shapes import PAGE, Address, After, Limit, Page, Time, Who, page


class Input(BaseModel):
    """What is sent: nothing that is not known."""

    model_config = ConfigDict(extra="forbid")


class Profile(BaseModel):
    """What everybody may know of an account; an e-mail address is not of it."""

    name: str
    full_name: str
    created_at: Time


class OwnAccount(Profile):
    """What its owner and administrators know besides."""

    id: int
    email: str | None
    administrator: bool
    plan: str
    disabled: bool


class SignUp(Input):
    """An account that is to be."""

    name: str
    password: str
    full_name: str = ""
    email: str | None = None


class ProfileChange(Input):
    """What is to be changed; what is left out stays."""

    full_name: str | None = None
    email: str | None = None


class PasswordChange(Input):
    """A new password takes the present one."""

    current: str
    new: str


class Password(Input):
    """A password."""

    password: str


class AdministratorFlag(Input):
    """Whether an account administers the installation."""

    administrator: bool


def account_routes(accounts: Accounts) -> APIRouter:
    """What people do with accounts."""
    routes = APIRouter(tags=["accounts"])

    @routes.post("/accounts", response_model=Profile, status_code=201, summary="Sign up, or make an account")
    async def create(who: Who, address: Address, new: SignUp) -> Account:
        return await accounts.create(who, new.name, new.password, new.full_name, new.email, address)

    @routes.get("/accounts/{name}", response_model=Profile, summary="Anybody's public profile")
    async def profile(name: str) -> Account:
        return await accounts.profile(name)

    @routes.get("/account", response_model=OwnAccount, summary="One's own account")
    async def own(who: Who) -> Account:
        return await accounts.own(who)

    @routes.patch("/account", response_model=OwnAccount, summary="Change one's own profile")
    async def change(who: Who, address: Address, body: ProfileChange) -> Account:
        return await accounts.change(who, Changes(body.full_name, body.email), address)

    @routes.post("/account/password", status_code=204, summary="Change one's own password; sessions end")
    async def change_password(who: Who, address: Address, body: PasswordChange, request: Request) -> None:
        await accounts.change_password(who, body.current, body.new, address, _agent(request))

    @routes.post("/account/delete", status_code=204, summary="End one's own account; its name is never given again")
    async def delete(who: Who, address: Address, body: Password, request: Request) -> None:
        await accounts.delete(who, body.password, address, _agent(request))

    return routes


def administration_routes(accounts: Accounts) -> APIRouter:
    """What administrators do with accounts."""
    routes = APIRouter(prefix="/admin/accounts", tags=["administration"])

    @routes.get("", response_model=Page[OwnAccount], summary="Every account")
    async def list_accounts(who: Who, after: After = "", limit: Limit = PAGE) -> dict[str, object]:
        found = await accounts.list(who, after, limit + 1)
        return page(found, [each.name for each in found], limit)

    @routes.post("/{name}/password", status_code=204, summary="Reset a password; everything handed out ends")
    async def reset(who: Who, address: Address, name: str, body: Password) -> None:
        await accounts.reset_password(who, name, body.password, address)

    @routes.patch("/{name}", status_code=204, summary="Make an administrator, or not any more")
    async def promote(who: Who, address: Address, name: str, body: AdministratorFlag) -> None:
        await accounts.set_administrator(who, name, body.administrator, address)

    @routes.post("/{name}/disable", status_code=204, summary="Let nobody log in")
    async def disable(who: Who, address: Address, name: str) -> None:
        await accounts.set_disabled(who, name, True, address)

    @routes.post("/{name}/enable", status_code=204, summary="Let them log in again")
    async def enable(who: Who, address: Address, name: str) -> None:
        await accounts.set_disabled(who, name, False, address)

    @routes.delete("/{name}", status_code=204, summary="End an account; its name is never given again")
    async def remove(who: Who, address: Address, name: str) -> None:
        await accounts.remove(who, name, address)

    return routes


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "")
