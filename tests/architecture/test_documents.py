"""What the documents say of the code is so."""

import ast
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from entrepot.cli.main import cli
from entrepot.proxy.ledger import Ledger
from entrepot.registry.errors import RegistryError
from entrepot.web.metrics import ROUTES, Metrics
from entrepot.web.v2.errors import TABLE
from tests.support.tools import CHECKOUT

PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text()
ERRORS = (CHECKOUT / "docs" / "errors.md").read_text()
DEPENDENCIES = (CHECKOUT / "docs" / "decisions" / "0007-dependencies.md").read_text()
README = (CHECKOUT / "README.md").read_text()


def cells(text: str) -> set[tuple[str, ...]]:
    """The rows of a page's tables, cell by cell, without code marks."""
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return {tuple(cell.strip().replace("`", "") for cell in row.strip("|").split("|")) for row in rows}


def blocks(text: str) -> Iterator[str]:
    """The commands of a page's shell blocks."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_a_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_decision_has_its_number_once() -> None:
    names = sorted(path.name for path in (CHECKOUT / "docs" / "decisions").glob("*.md"))
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
    for name in names:
        first = (CHECKOUT / "docs" / "decisions" / name).read_text().splitlines()[0]
        assert first.startswith(f"# {int(name[:4])}. "), name


def test_the_errors_page_has_the_registrys_table() -> None:
    rows = [
        f"| {wire.status} | `{wire.code}` | {(error.__doc__ or '').splitlines()[0]} |"
        for error, wire in sorted(TABLE.items(), key=lambda row: (row[1].status, row[1].code, row[0].__name__))
        if error is not RegistryError  # their common name, never raised itself
    ]
    expected = "\n".join(["| status | code | when |", "|---|---|---|", *rows])
    written = ERRORS.partition("<!-- table: begin -->\n")[2].partition("\n<!-- table: end -->")[0]
    assert written == expected, f"write this into docs/errors.md:\n{expected}"


def test_the_errors_page_has_every_refusal_of_the_http_server() -> None:
    refused = {
        (str(node.args[0].value), str(node.args[1].value))
        for path in (CHECKOUT / "src" / "entrepot" / "web").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and len(node.args) > 1
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[1], ast.Constant)
        and isinstance(node.args[0].value, int)
        and ast.unparse(node.func).rpartition(".")[2] in ("refusal", "_refuse")
    }
    assert len(refused) > 5
    after = ERRORS.partition("## Of the HTTP server")[2]
    assert {row[:2] for row in cells(after) if row[0].isdigit()} == refused


def exposed() -> str:
    """What `/metrics` shows when something of everything has happened."""
    ledger = Ledger([("docker.io", "")], 1)
    ledger.page("docker.io", "").hear(100, 60, 21600)
    metrics = Metrics(1, ledger)
    metrics.count("ping", "GET", 200, 0.001, 1, 1)
    return metrics.exposition().decode()


def test_the_rules_for_prometheus_are_about_metrics_and_labels_that_there_are() -> None:
    document = yaml.safe_load((CHECKOUT / "deploy" / "prometheus" / "entrepot.rules.yml").read_text())
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} >= {"EntrepotUpstreamIsAlmostUsedUp", "EntrepotUpstreamIsDown"}
    series = re.findall(r"^(entrepot_\w+)(?:{(.*)})? ", exposed(), re.MULTILINE)
    names = {name for name, _ in series}
    labels = {label for _, written in series for label in re.findall(r"(\w+)=", written)}
    for rule in rules:
        used = set(re.findall(r"\bentrepot_\w+", rule["expr"]))
        assert used, rule
        assert used <= names, rule
        grouped = [label for by in re.findall(r"by \((.*?)\)", rule["expr"]) for label in by.split(", ")]
        selected = re.findall(r"(\w+)[=!]~?\"", rule["expr"])
        told = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
        assert {*grouped, *selected, *told} <= labels, rule
        assert set(told) <= set(grouped), "a label that is summed away is not told"


def test_the_operations_page_has_every_metric_with_its_labels_and_meaning() -> None:
    text = exposed()
    shown = set()
    for name, meaning in re.findall(r"# HELP (\S+) (.*)", text):
        labels = re.search(rf"^{name}(?:_bucket)?{{(.*?)}}", text, re.MULTILINE)
        names = [label for label in re.findall(r"(\w+)=", labels[1] if labels else "") if label != "le"]
        shown.add((name, ", ".join(sorted(names)), meaning))
    documented = {
        (row[0], ", ".join(sorted(row[1].split(", "))), row[2])
        for row in cells(OPERATIONS)
        if row[0].startswith("entrepot_")
    }
    assert documented == shown


def test_the_operations_page_has_every_route_of_the_metrics() -> None:
    listed = re.search(r"Values of `route`: (.*?)\. A", OPERATIONS, re.DOTALL)
    assert listed is not None
    assert tuple(re.findall(r"`(\w+)`", listed[1])) == ROUTES


def test_every_dependency_has_its_reason_and_no_other() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    required = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in required}
    assert {row[0] for row in cells(DEPENDENCIES)} - {"package"} == names


def test_the_readme_names_only_verbs_of_make_and_all_that_test() -> None:
    listed = subprocess.run(["make", "-s", "-C", CHECKOUT, "help"], capture_output=True, text=True, check=True).stdout
    verbs = set(re.findall(r"^  make (\S+)", listed, re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`make ([a-z0-9]+)", page.read_text())) | {
            line.split()[1] for line in blocks(page.read_text()) if line.startswith("make ")
        }
        assert named <= verbs, page
    assert {row[0] for row in cells(README) if row[0].startswith("make ")} == {
        f"make {verb}" for verb in ("test", "check", "conformance", "e2e", "bench")
    }


def test_the_readme_names_every_command() -> None:
    assert isinstance(cli, click.Group)
    known = set()
    for name, command in cli.commands.items():
        subcommands = list(command.commands.items()) if isinstance(command, click.Group) else []
        known |= {f"{name} {sub}" for sub, each in subcommands if not each.hidden} or {name}
        if isinstance(command, click.Group) and command.invoke_without_command:
            known.add(name)
    named = {
        row[0].removeprefix("entrepot ").split(" --")[0] for row in cells(README) if row[0].startswith("entrepot ")
    }
    assert named == known


def test_every_entrepot_command_in_the_documents_can_be_typed() -> None:
    typed = [line for page in PAGES for line in blocks(page.read_text()) if re.match(r"(\S*/)?entrepot ", line)]
    typed += re.findall(r"`(entrepot (?:serve|config|health)[^`<>…]*)`", "\n".join(page.read_text() for page in PAGES))
    assert typed
    for line in typed:
        arguments = shlex.split(line.partition(">")[0], comments=True)[1:]
        command: click.Command = cli
        with click.Context(cli, **cli.context_settings) as context:
            while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
                found = command.get_command(context, arguments.pop(0))
                assert found is not None, line
                command = found
            if "--help" not in arguments and not isinstance(command, click.Group):
                command.make_context("entrepot", arguments, parent=context)


def test_the_changelog_has_this_version_or_what_is_not_released_yet() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    changes = (CHECKOUT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changes or f"## [{project['version']}]" in changes
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (CHECKOUT / "LICENSE").read_text()
