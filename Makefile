# The two commands of the README: `make demo` and `make test`. Each works first after a clone: it sets up what it needs.
# CI runs these very targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROFILE ?= smoke
BENCH := .venv-bench
BENCH_READY := $(BENCH)/.ready
# the profile `postgres` is the same services with another address for the store; the queue lies beside it
export ACCEPTANCE_STORE_URL = $(if $(filter postgres,$(PROFILE)),postgresql+psycopg://fin@postgres/fin,sqlite:////var/lib/fin-infra/fin.db)
COMPOSE = docker compose --file docker-compose.test.yml --profile $(PROFILE)
export PYTHONHASHSEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types layers wheel bench docs calendars lock soak mutants simulate emulate clean compose \
	accept accept-native up wait seed down

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## make .venv with everything in the lock

# The stock pip is too old to resolve svc-infra's tree: it only brings uv, which installs from the lock, byte-compiled.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; make PYTHON=python3.11 …"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "error: no venv module; apt-get install python3-venv"; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## the main job on a simulated bank: no key, no server
	@$(BIN)/fin-infra demo

test: $(READY) ## all tests
	@$(BIN)/python -m pytest -n $$(nproc) --dist loadfile

# Needs docker. The stack is taken down whatever happens, an interrupt too; the logs are searched for the seed's secrets.
accept: ## the acceptance stack in containers (PROFILE=smoke)
	@command -v docker >/dev/null || { echo "error: there is no docker here; make accept-native needs none"; exit 2; }
	@trap 'exit 130' INT TERM; trap '$(MAKE) --no-print-directory down' EXIT; \
	$(MAKE) --no-print-directory up wait && $(COMPOSE) run --rm tester || { $(COMPOSE) logs --no-color --tail 40; exit 1; }; \
	! $(COMPOSE) logs --no-color | grep -F -e test_token_a0 -e PKA0 -e secret-a0 -e access-sandbox-a0 -e key-a0 \
	|| { echo "error: the logs above hold a secret"; exit 1; }

up:
	@$(COMPOSE) up --detach --build

wait:
	@$(COMPOSE) up --detach --no-recreate --wait --wait-timeout 180

seed:
	@$(COMPOSE) run --rm tester python -m tests.acceptance.seed

down:
	@$(COMPOSE) --profile tester down --volumes --remove-orphans --timeout 30

accept-native: $(READY) ## the same stack as processes of this machine (PROFILE=smoke)
	@$(BIN)/python -m tests.acceptance.stack $(PROFILE)

check: $(READY) lint types layers wheel compose ## everything that reads the code without running it

lint: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(READY)
	@$(BIN)/mypy

layers: $(READY)
	@$(BIN)/lint-imports

wheel: $(READY)
	@rm -rf dist && $(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	@$(BIN)/check-wheel-contents dist

# A linter of shell scripts that happens to be on this machine is left out: the answer is the same everywhere.
compose: $(READY)
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.test.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
	@echo "compose file and workflows are as their specifications say"

bench: $(READY) $(BENCH_READY) ## measure against budgets and peers, into bench/results.json; ONLY=sync for one group
	@$(BIN)/python -m bench $(ONLY)

# The peers have an environment of their own: their dependencies are none of ours.
$(BENCH_READY): bench/requirements.lock $(READY)
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BIN)/uv pip install --quiet --python $(BENCH)/bin/python --compile-bytecode --require-hashes -r bench/requirements.lock
	@touch $@

docs: $(READY) ## write the pages that are made from the code
	@$(BIN)/python -m fin_infra.docs

calendars: $(READY) ## compile the shipped sessions anew
	@$(BIN)/fin-infra calendar build

lock: ## resolve the dependencies anew
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet 'uv>=0.5'; }
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --group dev --extra calendars --extra postgres pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --group bench --output-file bench/requirements.lock

clean: ## remove what was made, not what was synced
	@rm -rf $(VENV) $(BENCH) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

soak: $(READY) ## kill workers and PostgreSQL, fifty times each, and count what is left
	@SOAK_KILLS=50 $(BIN)/python -m pytest -s tests/soak tests/integration/test_kill.py

mutants: $(READY) ## break the code one line at a time and see that a test notices
	@$(BIN)/python -m tests.mutants

SEEDS ?= 1000
simulate: $(READY) ## live through SEEDS=1000 worlds of failing machines and vendors
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs $$(nproc)
	@$(BIN)/python -m tests.simulation --planted --jobs $$(nproc)

emulate: $(READY) ## fleets of workers against every kind of limiter: MORE="--kinds fixed --windows 3" for some
	@$(BIN)/python -m tests.emulator $(MORE)

HOURS ?= 24
simulate-quota: $(READY) ## plan 10,000 connections against scarce quotas, HOURS=24 of virtual time, five seeds
	@$(BIN)/python -m tests.quota_simulation --hours $(HOURS) --seeds 5 --jobs $$(nproc)
