# Every target sets up what it needs: Python 3.11 or later is all that must be there (the real Kafka wants Java 17 and Maven).
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): requirements/dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON) (install Python 3.11 or later)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "missing: Python 3.11 or later ($$($(PYTHON) --version) found; set PYTHON=)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "missing: the venv module (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY) ## install everything into .venv

demo: $(READY) ## a shop's day in under two minutes: embedded Postgres and bus, three dealers in the sandbox, a report
	$(BIN)/bongsu demo

kafka-tools:
	@command -v java >/dev/null || { echo "missing: java (Debian: apt-get install openjdk-17-jre-headless)"; exit 1; }
	@java -version 2>&1 | awk -F '"' '/version/ { split($$2, v, "."); exit v[1] < 17 }' || { echo "missing: Java 17 or later (Debian: apt-get install openjdk-17-jre-headless)"; exit 1; }
	@command -v mvn >/dev/null || { echo "missing: mvn (Debian: apt-get install maven)"; exit 1; }

check: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests docs
	$(BIN)/lint-imports

unit: $(READY) ## the tests that need no server
	$(BIN)/pytest tests/unit

test: $(READY) kafka-tools ## every test: real Postgres, real Kafka, kills
	$(BIN)/pytest -m "not soak" -n 2 --dist loadgroup --no-loadscope-reorder

soak: $(READY) kafka-tools ## a thousand kills, 500 over each bus, in about an hour
	$(BIN)/pytest -m soak --timeout=3600 --capture=no

mutants: $(READY) ## take safeguards out one at a time, and see that a test fails (a quarter of an hour)
	$(BIN)/python tests/mutants.py --write

format: $(READY) ## let ruff format and mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## resolve the lock files anew (needs uv)
	@command -v uv >/dev/null || { echo "missing: uv (pip install uv)"; exit 1; }
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet pyproject.toml -o requirements/runtime.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet --extra dev -c requirements/runtime.lock pyproject.toml -o requirements/dev.lock

clean: ## remove what make made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info

.PHONY: help setup demo kafka-tools check unit test soak mutants format lock clean
