"""The commands: what they print, where, and with which exit code."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from entrepot import __version__
from entrepot.cli.main import cli
from entrepot.config import Address, Settings
from entrepot.config.settings import SETTINGS

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `entrepot` in an empty directory, with no variable set that it reads."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("ENTREPOT_", "REGISTRY_")):
            monkeypatch.delenv(name)

    def invoke(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(cli, arguments, env=environment, prog_name="entrepot")

    return invoke


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `entrepot serve` hands to the server, which here ends at once with code 7."""
    settings: list[Settings] = []

    def serve(given: Settings) -> int:
        settings.append(given)
        return 7

    server = ModuleType("entrepot.server")
    server.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "entrepot.server", server)
    return settings


def test_the_version_is_one_line(run: Run) -> None:
    assert run("--version").output == f"entrepot {__version__}\n"


@pytest.mark.parametrize("command", [(), ("serve",), ("config",), ("config", "check"), ("config", "show")])
def test_every_command_explains_itself(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: {' '.join(('entrepot', *command))} ")
    assert result.output == run(*command, "-h").output


def test_the_help_shows_the_first_push_and_hides_what_is_for_developers(run: Run) -> None:
    assert "docker push localhost:5000/hello-web-server:v1.0" in run("--help").output
    assert "docs" not in run("config", "--help").output


def test_the_help_of_serve_names_every_flag_with_the_default_of_its_setting(run: Run) -> None:
    words = " ".join(run("serve", "--help").output.split())
    for setting in SETTINGS.values():
        if setting.flag is not None:
            assert f" {setting.flag} " in words
            assert setting.default == "false" or f"[default: {setting.default}]" in words


def test_serve_hands_the_settings_to_the_server_and_ends_with_its_code(run: Run, served: list[Settings]) -> None:
    result = run(
        "serve", "--open", "--open-to-network", "--listen", "0.0.0.0:1234", "--data-dir", "/srv", "--workers", "3"
    )
    assert result.exit_code == 7
    (settings,) = served
    assert settings.http.listen == Address("0.0.0.0", 1234)
    assert (settings.data_dir, settings.workers) == (Path("/srv"), 3)
    assert settings.open
    assert settings.open_to_network


def test_serve_reads_the_file_in_the_working_directory(run: Run, served: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "entrepot.yaml").write_text("open: true\nlog: {format: text}\n")
    assert run("serve").exit_code == 7
    assert served[0].log.format == "text"


def test_serve_without_open_has_accounts(run: Run, served: list[Settings]) -> None:
    assert run("serve").exit_code == 7
    assert not served[0].open


def test_a_password_file_closes_what_was_open(run: Run, served: list[Settings]) -> None:
    result = run("serve", "--open", REGISTRY_AUTH="htpasswd", REGISTRY_AUTH_HTPASSWD_PATH="/auth/htpasswd")
    assert not served[0].open
    assert served[0].auth.htpasswd == Path("/auth/htpasswd")
    assert "open has no effect" in result.stderr


def test_serve_open_to_the_network_says_what_to_type(run: Run, served: list[Settings]) -> None:
    result = run("serve", "--open", "--listen", ":5000")
    assert (result.exit_code, result.stdout, served) == (2, "", [])
    assert result.stderr.startswith("entrepot: http.listen is 0.0.0.0:5000")
    assert "--open-to-network" in result.stderr


def test_serve_names_registry_variables_without_effect_on_standard_error(run: Run, served: list[Settings]) -> None:
    result = run("serve", "--open", REGISTRY_STORAGE_CACHE="1h", REGISTRY_LOG_LEVEL="debug")
    assert (result.exit_code, result.stdout, len(served)) == (7, "", 1)
    first, second = result.stderr.splitlines()
    assert first.startswith("entrepot: warning: REGISTRY_STORAGE_CACHE has no effect")
    assert second.startswith("entrepot: warning: REGISTRY_LOG_LEVEL has no effect")


@pytest.mark.parametrize("command", [("serve", "--open"), ("config", "check"), ("config", "show")])
def test_a_configuration_that_cannot_be_used_is_one_line_and_code_2(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command, ENTREPOT_WORKERS="many")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "entrepot: workers must be a whole number of at least 1, not 'many' (environment ENTREPOT_WORKERS)\n"
    )


def test_config_check_says_what_it_read(run: Run, tmp_path: Path) -> None:
    assert "no configuration file" in run("config", "check").output
    (tmp_path / "other.yaml").write_text("workers: 2\n")
    for result in (
        run("config", "check", "--config", "other.yaml"),
        run("config", "check", ENTREPOT_CONFIG="other.yaml"),
    ):
        assert result.exit_code == 0
        assert "is fine (other.yaml" in result.stdout


def test_config_check_refuses_an_unknown_key_and_suggests_the_nearest(run: Run, tmp_path: Path) -> None:
    (tmp_path / "entrepot.yaml").write_text("workers: 2\nlogs: {level: debug}\n")
    result = run("config", "check")
    assert result.exit_code == 2
    assert result.stderr == "entrepot: unknown key logs (file entrepot.yaml, line 2); did you mean log?\n"


def test_config_show_prints_every_key_with_its_value_and_origin(run: Run, tmp_path: Path) -> None:
    (tmp_path / "entrepot.yaml").write_text("http:\n  hosts: [a.internal, b]\n")
    result = run("config", "show", ENTREPOT_UPLOADS__LIFETIME="48h", REGISTRY_HTTP_ADDR=":5000")
    assert result.exit_code == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in result.stdout.splitlines()}
    assert list(rows) == list(SETTINGS)
    assert rows["http.hosts"] == '["a.internal", "b"] file entrepot.yaml, line 2'
    assert rows["uploads.lifetime"] == "2d environment ENTREPOT_UPLOADS__LIFETIME"
    assert rows["http.listen"] == "0.0.0.0:5000 environment REGISTRY_HTTP_ADDR"
    assert rows["log.level"] == "info default"
    assert rows["database.url"] == '"" default'


def test_config_show_masks_secrets(run: Run) -> None:
    result = run(
        "config",
        "show",
        ENTREPOT_DATABASE__URL="postgresql://entrepot:hunter2@db/entrepot",
        ENTREPOT_STORAGE__S3__ACCESS_KEY_ID="id",
        ENTREPOT_STORAGE__S3__SECRET_ACCESS_KEY="hunter2",
        ENTREPOT_SECRET_KEY="hunter2" * 5,
    )
    assert "hunter2" not in result.output
    assert "postgresql://entrepot:********@db/entrepot" in result.output


def test_config_docs_prints_the_page_about_configuration(run: Run) -> None:
    assert run("config", "docs").output.startswith("# Configuration\n")
