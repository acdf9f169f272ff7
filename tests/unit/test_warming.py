"""Images as people write them, as a cache names them."""

import pytest

from entrepot.client.warming import read_image

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("written", "repository", "reference"),
    [
        ("nginx", "docker.io/library/nginx", "latest"),
        ("nginx:1.25", "docker.io/library/nginx", "1.25"),
        ("bitnami/postgresql:15", "docker.io/bitnami/postgresql", "15"),
        ("docker.io/library/nginx:1.25", "docker.io/library/nginx", "1.25"),
        ("ghcr.io/org/app", "ghcr.io/org/app", "latest"),
        (f"python@{DIGEST}", "docker.io/library/python", DIGEST),
        (f"ghcr.io/org/app:v1@{DIGEST}", "ghcr.io/org/app", DIGEST),
        ("10.0.0.1:5000/app:v1", "10.0.0.1_5000/app", "v1"),
    ],
)
def test_an_image_is_read_as_docker_reads_it(written: str, repository: str, reference: str) -> None:
    assert read_image(written) == (repository, reference)
