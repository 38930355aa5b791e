# Everything a newcomer types. Each target installs what it needs into .venv first.
# Needs: Python 3.11+, and for the broker Java 17+ with Maven (or KAFKA_HOME, or REGULARS_BOOTSTRAP_SERVERS).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV_VERSION := 0.5
CYCLONEDX_VERSION := 7.5.0
PIP_AUDIT_VERSION := 2.10.1

.DEFAULT_GOAL := help
.PHONY: help setup demo test t lint unit integration test-slow test-faults drill bench verify-replay verify-promises docs hooks release sbom audit pin lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP) ## install into .venv

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is older than 3.11; name another: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=$(UV_VERSION)'
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(STAMP) ## a simulated shop, its customers changing segment live
	$(BIN)/regulars demo $(ARGS)

test: lint unit integration ## everything that must pass before a change lands

t: $(STAMP) ## one file or one test and nothing else: make t T=tests/unit/models/test_step.py
	@test -n "$(T)" || { echo "make t: name a file or a test: make t T=tests/unit/models/test_step.py" >&2; exit 1; }
	$(BIN)/pytest $(T) $(ARGS)

lint: $(STAMP) ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: $(STAMP) ## laws of the pure parts, contracts, the examples in docstrings; no broker
	$(BIN)/pytest -n 2 tests/unit tests/contracts $(ARGS)
	$(BIN)/pytest --doctest-modules schemas models streams

# Brokers of tests live for seconds: Java's first compiler alone halves what their starts cost. Hundreds of workers
# start: each would compile the product anew where PYTHONDONTWRITEBYTECODE is set.
integration: $(STAMP) ## on one real broker; much of it is waiting, so five at a time
	@$(BIN)/python -m compileall -q schemas models streams tests/support
	JDK_JAVA_OPTIONS="$(JDK_JAVA_OPTIONS) -XX:TieredStopAtLevel=1" $(BIN)/pytest -n 5 --dist loadgroup -m "not slow" tests/integration $(ARGS)

test-slow: $(STAMP) ## integration tests that wait for minutes
	$(BIN)/pytest -m slow tests/integration $(ARGS)

test-faults: $(STAMP) ## break it at every point, under an oracle; half an hour
	$(BIN)/python -m tests.faults.run $(ARGS)

drill: $(STAMP) ## break a whole stack and see what somebody on call would see: make drill ROWS=stopped,killed; half an hour
	$(BIN)/python -m tests.drill.run --rows "$(ROWS)" $(ARGS)

bench: $(STAMP) ## speed: the common job and the whole job
	$(BIN)/regulars broker start
	$(BIN)/regulars bench common
	$(BIN)/regulars bench whole

verify-replay: $(STAMP) ## a real year replayed against a direct computation on its file
	$(BIN)/python -m tests.acceptance.verify_replay

verify-promises: $(STAMP) ## what a replayed year promised, against what then came
	$(BIN)/python -m tests.acceptance.verify_promises

docs: $(STAMP) ## write the generated documents again
	$(BIN)/python -m schemas.documents
	$(BIN)/python -m models.featuredocs

hooks: $(STAMP) ## run the checks of `make lint` before each commit
	$(BIN)/pre-commit install

release: $(STAMP) ## wheel and sdist into dist/, tried in an empty environment
	.ci/release $(ARGS)

sbom: $(STAMP) ## the bill of materials of requirements.lock, out/sbom.cdx.json (CycloneDX)
	@mkdir -p out
	$(BIN)/uv tool run --from cyclonedx-bom==$(CYCLONEDX_VERSION) cyclonedx-py requirements requirements.lock \
		--pyproject pyproject.toml --output-reproducible -o out/sbom.cdx.json

audit: $(STAMP) ## known vulnerabilities of requirements.lock; asks pypi.org, or with ARGS="-s osv" osv.dev
	$(BIN)/uv tool run --from pip-audit==$(PIP_AUDIT_VERSION) pip-audit --strict --no-deps --disable-pip \
		-r requirements.lock --progress-spinner off $(ARGS)

pin: ## the digests of others' images, into deploy/images.env; needs docker
	deploy/pin-images

lock: $(STAMP) ## resolve the dependencies of pyproject.toml again
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --all-extras --python-version 3.11 \
		pyproject.toml -o requirements.lock

clean: ## remove .venv and caches; data stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
