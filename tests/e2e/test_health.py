"""`entrepot health`, which the image's health check runs."""

from tests.support.machine import Machine
from tests.support.server import Registry, entrepot_command


def test_health_says_that_a_running_registry_is_ready(machine: Machine, registry: Registry) -> None:
    assert machine.run(*entrepot_command(), "health", registry.url) == f"{registry.url} is ready\n"


def test_health_without_an_address_asks_the_registry_of_the_same_configuration(
    machine: Machine, plain_registry: Registry
) -> None:
    port = plain_registry.address.rpartition(":")[2]
    settings = {"ENTREPOT_HTTP__LISTEN": f"0.0.0.0:{port}"}
    said = machine.run(*entrepot_command(), "health", environment=settings)
    assert said == f"http://127.0.0.1:{port} is ready\n"


def test_health_fails_with_one_line_when_nothing_answers(machine: Machine) -> None:
    said = machine.run(*entrepot_command(), "health", "http://127.0.0.1:1", status=1)
    assert said == "entrepot: http://127.0.0.1:1 does not answer: [Errno 111] Connection refused\n"


def test_health_of_what_is_no_address_says_what_an_address_looks_like(machine: Machine) -> None:
    said = machine.run(*entrepot_command(), "health", "registry", status=2)
    assert said == "entrepot: registry is not an address such as http://127.0.0.1:5000\n"
