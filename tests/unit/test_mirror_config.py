"""`entrepot mirror config`: files that the programs can read, and a sentence where there is nothing to print."""

import json
import tomllib

import pytest
import yaml
from click.testing import CliRunner, Result

from entrepot.cli.main import cli

UPSTREAMS = '{"docker.io": {}, "ghcr.io": {}, "10.0.0.1_5000": {}}'
MIRROR = {"ENTREPOT_UPSTREAMS": UPSTREAMS, "ENTREPOT_MIRROR__LISTEN": "127.0.0.1:5001"}


def printed(program: str, *flags: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, ["mirror", "config", program, *flags], env={**MIRROR, **environment})


def test_docker_has_the_mirrors_own_address() -> None:
    document = json.loads(printed("docker").stdout)
    assert document == {"registry-mirrors": ["http://127.0.0.1:5001"], "insecure-registries": ["127.0.0.1:5001"]}
    assert json.loads(printed("docker", "--url", "https://cache.internal/").stdout) == {
        "registry-mirrors": ["https://cache.internal"]
    }
    everywhere = printed("docker", ENTREPOT_MIRROR__LISTEN="", ENTREPOT_MIRROR__EVERYWHERE="true")
    assert json.loads(everywhere.stdout)["registry-mirrors"] == ["http://127.0.0.1:5000"]


def test_containerd_has_one_file_for_all_upstreams() -> None:
    document = tomllib.loads(printed("containerd").stdout)
    assert document == {"host": {"http://127.0.0.1:5000": {"capabilities": ["pull", "resolve"]}}}


def test_podman_and_buildkit_have_a_mirror_for_each_upstream_by_its_path() -> None:
    podman = tomllib.loads(printed("podman", ENTREPOT_HTTP__PUBLIC_URL="https://hub.internal").stdout)
    assert [each["location"] for each in podman["registry"]] == ["docker.io", "ghcr.io", "10.0.0.1:5000"]
    mirrors = [each["mirror"][0] for each in podman["registry"]]
    assert mirrors[0] == {"location": "hub.internal/docker.io", "insecure": False}
    buildkit = tomllib.loads(printed("buildkit").stdout)["registry"]
    assert buildkit["ghcr.io"] == {"mirrors": ["127.0.0.1:5000/ghcr.io"]}
    assert buildkit["127.0.0.1:5000"] == {"http": True}


def test_where_the_whole_server_is_a_mirror_its_upstream_is_at_the_root_and_the_others_are_nowhere() -> None:
    everywhere = {"ENTREPOT_MIRROR__LISTEN": "", "ENTREPOT_MIRROR__EVERYWHERE": "true"}
    podman = tomllib.loads(printed("podman", **everywhere).stdout)
    location = {"location": "127.0.0.1:5000", "insecure": True}
    assert podman == {"registry": [{"location": "docker.io", "mirror": [location]}]}
    buildkit = tomllib.loads(printed("buildkit", **everywhere).stdout)["registry"]
    assert buildkit == {"docker.io": {"mirrors": ["127.0.0.1:5000"]}, "127.0.0.1:5000": {"http": True}}
    assert set(yaml.safe_load(printed("k3s", **everywhere).stdout)["mirrors"]) == {"docker.io"}


def test_k3s_has_an_endpoint_for_each_upstream() -> None:
    document = yaml.safe_load(printed("k3s").stdout)
    assert document["mirrors"]["docker.io"] == {"endpoint": ["http://127.0.0.1:5000"]}
    assert set(document["mirrors"]) == {"docker.io", "ghcr.io", "10.0.0.1:5000"}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ENTREPOT_UPSTREAMS": "", "ENTREPOT_MIRROR__LISTEN": ""}, "no upstreams are configured"),
        ({"ENTREPOT_MIRROR__LISTEN": ""}, "set mirror.listen"),
        ({"ENTREPOT_MIRROR__LISTEN": ":5001"}, "say by --url how clients reach it"),
    ],
)
def test_where_there_is_nothing_to_print_it_says_what_to_do(environment: dict[str, str], words: str) -> None:
    result = printed("docker", **environment)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
