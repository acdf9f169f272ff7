"""Part 4 of the walk-through: the pull limits that everybody's scripts look at, and the pull that is one too many.

The lines are typed as Docker's documentation prints them. Entrepot with accounts stands in for Docker Hub.
"""

import re
from collections.abc import Iterator

import pytest

from tests.support.docker_hub import DockerHub, docker_hub

pytestmark = pytest.mark.needs("dockerd", "busybox", "crane", "ip", "curl")

TOKEN = (
    'RATE_LIMIT_TOKEN=$(curl --silent "https://auth.docker.io/token?service=registry.docker.io'
    '&scope=repository:ratelimitpreview/test:pull"'
    " | python3 -c \"import sys,json; print(json.load(sys.stdin)['token'])\")"
)
CHECK = (
    'curl --silent --head --header "Authorization: Bearer ${RATE_LIMIT_TOKEN}"'
    " https://registry-1.docker.io/v2/ratelimitpreview/test/manifests/latest | grep --ignore-case ratelimit"
)


@pytest.fixture(scope="module")
def typed() -> Iterator[DockerHub]:
    with docker_hub({"ENTREPOT_LIMITS__PULLS": "docker-hub"}) as made:
        made.publish("nginx", "library/nginx:latest")
        yield made


def limits(text: str) -> tuple[int, int]:
    """Limit and what remains of it, as the headers say."""
    found = dict(re.findall(r"^(ratelimit-\w+): (\d+);w=21600\r?$", text, re.MULTILINE))
    return int(found["ratelimit-limit"]), int(found["ratelimit-remaining"])


def test_part_4_the_limits(typed: DockerHub) -> None:
    challenged = typed("curl -s -I https://registry-1.docker.io/v2/library/nginx/manifests/latest | grep ratelimit")
    assert limits(challenged) == (100, 100)
    assert limits(typed(f"{TOKEN}; {CHECK}")) == (100, 100)

    typed("docker pull nginx")
    assert limits(typed(f"{TOKEN}; {CHECK}")) == (100, 99)
    # The engine may still have a manifest that was just removed and then asks for none: so until it is refused.
    refused = typed("until ! docker rmi nginx || ! docker pull nginx; do :; done")
    assert "toomanyrequests: You have reached your pull rate limit" in refused
    assert refused.count("Downloaded newer image") >= 99
    assert limits(typed(f"{TOKEN}; {CHECK}")) == (100, 0)

    alice = typed.hub.person("alice")
    assert "Login Succeeded" in typed('echo "$PW" | docker login -u alice --password-stdin', PW=alice.secret)
    typed("docker pull nginx")
    token = TOKEN.replace("--silent", '--silent --user "$WHO"')
    assert limits(typed(f"{token}; {CHECK}", WHO=alice.pair)) == (200, 199)
