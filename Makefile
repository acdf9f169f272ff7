# Every verb that a person needs. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help serve hub test check conformance e2e bench image lock clean

PYTHON ?= python3
PORT ?= 5000
DATA ?= ./data
JOBS ?= 2

BIN := .venv/bin
RUNTIME := .venv/.runtime
DEVELOPMENT := .venv/.development

help: ## show this list
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /  make \1\t/' | expand -t 22

serve: $(RUNTIME) ## start a registry, open on 127.0.0.1:5000, with its data in ./data (PORT=, DATA=)
	@exec $(BIN)/entrepot serve --open --listen 127.0.0.1:$(PORT) --data-dir $(DATA)

hub: $(RUNTIME) ## the same with accounts; the first start prints the password of the administrator, admin
	@exec $(BIN)/entrepot serve --listen 127.0.0.1:$(PORT) --data-dir $(DATA)

test: $(DEVELOPMENT) ## run every test that this machine can run; names what it left out
	$(BIN)/pytest -n $(JOBS) --dist loadgroup tests/unit tests/architecture tests/contracts tests/http tests/crash
	$(BIN)/pytest tests/conformance tests/e2e

check: $(DEVELOPMENT) ## format, lint, strict types, import contracts, size budgets
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/architecture

conformance: $(DEVELOPMENT) ## run the official OCI suite, every profile on every backend
	$(BIN)/pytest -v tests/conformance

e2e: $(DEVELOPMENT) ## drive the server with real clients: Docker, containerd, podman, skopeo, crane, oras, ...
	$(BIN)/pytest -v tests/e2e

bench: $(DEVELOPMENT) ## measure side by side with docker-registry, distribution and nginx; prints three tables
	$(BIN)/python -m bench $(BENCH)
	$(BIN)/python -m bench.caching $(CACHING)
	$(BIN)/python -m bench.collecting $(or $(COLLECTING),--quick)

image: $(DEVELOPMENT) ## build an image of Entrepot into dist/
	$(BIN)/python -m deploy.image.build

lock: $(DEVELOPMENT) ## resolve the dependencies anew within pyproject's ranges
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --group dev pyproject.toml -o requirements-dev.lock

clean: ## remove what was built and installed here, but no data
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(RUNTIME): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/pytest || $(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

$(DEVELOPMENT): requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@ $(RUNTIME)
