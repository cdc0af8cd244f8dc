# One command each for what people do here. `make help` lists them.
#
# PYTHON=...       the interpreter to make .venv with; the first one below that is new enough otherwise
# ARGS=...         passed on to the command that a target runs: make demo ARGS=--once, make test ARGS="-k jwt"

VENV := .venv
PY := $(VENV)/bin/python
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
ARGS ?=

NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p $(NEW_ENOUGH) 2>/dev/null && echo $$p && break; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench bench-core lock system-deps clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

demo: $(RUNTIME) ## see it work: an issuer, an upstream, the proxy between them, real requests
	@$(PY) -m fastproxy demo $(ARGS)

test: $(DEV) lint ## everything that must hold: lint, types, tests
	$(PY) -m pytest $(ARGS)

lint: $(DEV) ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(DEV) ## let ruff format the code
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(DEV) ## load FastProxy and Envoy with the same file, side by side
	$(PY) bench/compare.py $(ARGS)

bench-core: $(DEV) ## measure the verification core beside PyJWT and joserfc
	$(PY) -m pytest -o addopts="--import-mode=importlib" bench/test_jwt_core.py $(ARGS)

# The runtime lock is made first and binds the other: both name the same versions.
lock: $(DEV) ## resolve the dependencies anew into the two lock files
	CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m piptools compile --quiet --upgrade $(COMPILE) \
		--output-file requirements.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m piptools compile --quiet --upgrade $(COMPILE) \
		--extra dev --extra bench --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

COMPILE := --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host

SYSTEM_DEPS := wrk curl openssl

system-deps: ## the programs that some tests and the benchmark need besides Python (apt-get, as root)
	@missing=""; for p in $(SYSTEM_DEPS); do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then echo "system-deps: $(SYSTEM_DEPS) are there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	else echo "system-deps: missing:$$missing. Install them, or run this as root where there is apt-get." >&2; exit 1; fi

clean: ## remove everything that make has made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .coverage *.egg-info
	find fastproxy tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@test -n "$(PYTHON)" || { echo "FastProxy needs Python 3.11 or newer: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp a lock file: what is installed is as new as the lock, or it is installed again.
$(RUNTIME): requirements.lock pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --no-deps -e .
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(PY) -m pip install --quiet --no-deps -e .
	@touch $(RUNTIME) $@
