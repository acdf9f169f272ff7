"""`entrepot admin`: the administrator's work, offline against the same database."""

import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from entrepot.cli.configuration import config_option, load_or_refuse
from entrepot.cli.refusal import Refusal

if TYPE_CHECKING:
    from entrepot.administration import Desk

T = TypeVar("T")
_password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input. [default: make one, and print it]"
)


@click.group()
def admin() -> None:
    """Make accounts, reset passwords and more, on the server's own machine.

    It works against the database of the configuration, whether the server runs or not. On SQLite run it as the user
    that the server runs as.

    \b
    Examples:
      entrepot admin create-user alice
      echo "$PW" | entrepot admin create-user alice --password-stdin
      entrepot admin list
    """


@admin.command("create-user")
@click.argument("name")
@click.option("--admin", "administrator", is_flag=True, help="Let them administer the installation.")
@click.option("--email", help="Their e-mail address.")
@_password_option
@config_option
def create_user(file: Path | None, name: str, administrator: bool, email: str | None, password_stdin: bool) -> None:
    """Make an account for a person."""
    password, shown = _password(password_stdin)

    async def work(desk: "Desk") -> None:
        from entrepot.administration import CONSOLE, OPERATOR

        await desk.accounts.create(OPERATOR, name, password, "", email, CONSOLE)
        if administrator:
            await desk.accounts.set_administrator(OPERATOR, name, True, CONSOLE)

    _do(file, work)
    click.echo(f"entrepot: {name} can log in now" + shown)


@admin.command("reset-password")
@click.argument("name")
@_password_option
@config_option
def reset_password(file: Path | None, name: str, password_stdin: bool) -> None:
    """Give somebody a new password; their sessions and tokens end."""
    password, shown = _password(password_stdin)

    async def work(desk: "Desk") -> None:
        from entrepot.administration import CONSOLE, OPERATOR

        await desk.accounts.reset_password(OPERATOR, name, password, CONSOLE)

    _do(file, work)
    click.echo(f"entrepot: the password of {name} is changed, and every session and token of it has ended" + shown)


@admin.command("make-admin")
@click.argument("name")
@config_option
def make_admin(file: Path | None, name: str) -> None:
    """Let somebody administer the installation."""

    async def work(desk: "Desk") -> None:
        from entrepot.administration import CONSOLE, OPERATOR

        await desk.accounts.set_administrator(OPERATOR, name, True, CONSOLE)

    _do(file, work)
    click.echo(f"entrepot: {name} is an administrator now")


@admin.command("list")
@config_option
def list_accounts(file: Path | None) -> None:
    """List every account: its name, what it is, its plan, its e-mail address."""

    async def work(desk: "Desk") -> None:
        from entrepot.administration import OPERATOR

        after = ""
        while found := await desk.accounts.list(OPERATOR, after, 100):
            for each in found:
                marks = [word for word, is_so in (("admin", each.administrator), ("disabled", each.disabled)) if is_so]
                click.echo(f"{each.name}\t{','.join(marks) or 'user'}\t{each.plan}\t{each.email or ''}")
            after = found[-1].name

    _do(file, work)


@admin.command("token")
@click.argument("name")
@click.option("--label", default="made by the administrator", show_default=True, help="What it is for.")
@click.option(
    "--role",
    type=click.Choice(["repo:read", "repo:write", "repo:admin"]),
    default="repo:read",
    show_default=True,
    help="The most that it may do.",
)
@click.option("--expires", metavar="DURATION", help="How long it holds, as 30d. [default: until it is revoked]")
@config_option
def token(file: Path | None, name: str, label: str, role: str, expires: str | None) -> None:
    """Make a personal access token for somebody, and print it this once."""

    async def work(desk: "Desk") -> str:
        from entrepot.administration import CONSOLE, OPERATOR
        from entrepot.config.kinds import WHOLE_DURATION

        try:
            seconds = None if expires is None else WHOLE_DURATION.read(expires)
        except ValueError:
            raise Refusal(f"--expires must be {WHOLE_DURATION.form}") from None
        account = await desk.accounts.profile(name)
        made = await desk.tokens.create_for(OPERATOR, account.id, label, role, seconds, CONSOLE)
        return made.secret

    click.echo(_do(file, work))


@admin.command("rotate-keys")
@config_option
def rotate_keys(file: Path | None) -> None:
    """Make a new key for access tokens. It is published at once and signs in ten minutes; tokens stay valid."""

    async def work(desk: "Desk") -> int:
        from entrepot.access.caller import Caller
        from entrepot.administration import CONSOLE

        return await desk.keys.rotate(Caller(address=CONSOLE))

    click.echo(f"entrepot: key {_do(file, work)} signs access tokens in ten minutes")


def _password(from_stdin: bool) -> tuple[str, str]:
    """A password, and what is said of it at the end."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n"), ""
    made = secrets.token_urlsafe(18)
    return made, f", with the password {made} (shown only this once)"


def _do(file: Path | None, work: Callable[["Desk"], Awaitable[T]]) -> T:
    from entrepot.access.errors import AccessError
    from entrepot.administration import NotPrepared, at_the_desk
    from entrepot.hub.errors import HubError
    from entrepot.registry.errors import RegistryError

    loaded, _ = load_or_refuse(file, {})
    try:
        return at_the_desk(loaded.settings, work)
    except (HubError, AccessError, RegistryError) as error:
        raise Refusal(error.message) from None
    except NotPrepared as error:
        raise Refusal(str(error)) from None
