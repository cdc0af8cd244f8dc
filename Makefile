# One command each for what people do here. `make help` lists them.
#
# PYTHON=...       the interpreter to make .venv with; the first one below that is new enough otherwise
# ARGS=...         passed on to the command that a target runs: make demo ARGS=--once, make test ARGS="-k jwt"
# PARALLEL=...     how the tests share the cores; empty for one after the other, as a debugger needs it
#
# There are two environments. .venv runs the source as it is; .venv-compiled holds the compiled form, as operators run
# it (docs/performance.md), and is made only where it is asked for and there is a C compiler.

VENV := .venv
PY := $(VENV)/bin/python
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
COMPILED_VENV := .venv-compiled
COMPILED_PY := $(COMPILED_VENV)/bin/python
COMPILED_RUNTIME := $(COMPILED_VENV)/.installed-runtime
COMPILED := $(COMPILED_VENV)/.installed-wheel
NPM_PEERS := tests/providers/node_modules/.package-lock.json
ARGS ?=
# The tests of one file stay together: they share the servers that they start. Half of the time they wait for one, so that
# two processes share a core.
PARALLEL ?= --numprocesses=$(shell $(PY) -c 'import os; print(2 * os.cpu_count())' 2>/dev/null || echo 2) --dist=loadfile

NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p $(NEW_ENOUGH) 2>/dev/null && echo $$p && break; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-compiled lint format compiled bench bench-path bench-tcp bench-core bench-memory bench-idle lock \
	system-deps npm-peers clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

demo: $(RUNTIME) ## see it work: an issuer, an upstream, the proxy between them, real requests
	@$(PY) -m fastproxy demo $(ARGS)

test: $(DEV) lint ## everything that must hold: lint, types, tests
	$(PY) -m pytest $(PARALLEL) $(ARGS)

# The compiled package lies alone in a directory that comes before everything else (.venv has what the tests need);
# PYTHONSAFEPATH keeps the working directory, and with it the source, from coming first again.
test-compiled: compiled ## the tests of what requests pass through, against the compiled form
	@if test -e $(COMPILED); then \
		rm -rf build/compiled && mkdir -p build/compiled && \
		$(PY) -m zipfile -e build/wheel/fastproxy-*.whl build/compiled && \
		PYTHONSAFEPATH=1 PYTHONPATH="$(CURDIR)/build/compiled" FASTPROXY_EXPECT_FORM=compiled \
			$(PY) -m pytest -m "not interpreted_only" $(PARALLEL) $(COMPILED_TESTS) $(ARGS); \
	else echo "test-compiled: skipped, there is no compiled form"; fi

COMPILED_TESTS := $(wildcard $(addprefix tests/,test_build_info.py test_stats.py test_timers.py \
	test_worker.py explain filters format fuzz http jwt listener match router upstream hostile e2e))

lint: $(DEV) ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(DEV) ## let ruff format the code
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

compiled: $(DEV) ## build the compiled form into .venv-compiled (skipped without a C compiler)
	@if missing="$$($(PY) hatch_build.py)"; then $(MAKE) --no-print-directory $(COMPILED); \
	else rm -f $(COMPILED); printf 'compiled: skipped, this machine lacks\n%s\n' "$$missing" >&2; fi

bench: compiled ## load FastProxy and Envoy with the same file, side by side; the compiled form if it can be built
	@test -e $(COMPILED) && export FASTPROXY_PYTHON="$(CURDIR)/$(COMPILED_PY)"; $(PY) bench/compare.py $(ARGS)

bench-path: compiled ## measure the Python part of a request, in both forms
	@$(PY) bench/data_path.py $(ARGS)
	@test ! -e $(COMPILED) || $(COMPILED_PY) -P bench/data_path.py $(ARGS)

bench-tcp: $(DEV) ## move a large transfer and small messages through a TCP proxy, beside HAProxy
	@$(PY) bench/tcp_throughput.py $(ARGS)

bench-core: $(DEV) ## measure the verification core beside PyJWT and joserfc
	$(PY) -m pytest -o addopts="--import-mode=importlib" bench/test_jwt_core.py $(ARGS)

bench-memory: $(DEV) ## measure what 100,000 remembered tokens take
	@$(PY) bench/cache_memory.py $(ARGS)

bench-idle: compiled ## measure what 10,000 idle connections take, plain and by TLS, beside Envoy
	@test -e $(COMPILED) && export FASTPROXY_PYTHON="$(CURDIR)/$(COMPILED_PY)"; $(PY) -m bench.idle_memory $(ARGS)

# The runtime lock is made first and binds the other: both name the same versions.
lock: $(DEV) ## resolve the dependencies anew into the two lock files
	CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m piptools compile --quiet --upgrade $(COMPILE) \
		--output-file requirements.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m piptools compile --quiet --upgrade $(COMPILE) \
		--extra dev --extra bench --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

COMPILE := --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host

# Program, or program:package where the package has another name.
SYSTEM_DEPS := wrk curl openssl node:nodejs npm chromium

system-deps: ## the programs that some tests and the benchmark need besides Python (apt-get, as root)
	@missing=""; for p in $(SYSTEM_DEPS); do \
		command -v $${p%:*} >/dev/null || missing="$$missing $${p#*:}"; done; \
	if [ -z "$$missing" ]; then echo "system-deps: all are there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	else echo "system-deps: missing:$$missing. Install them, or run this as root where there is apt-get." >&2; exit 1; fi
	@$(MAKE) --no-print-directory npm-peers

npm-peers: $(NPM_PEERS) ## the packages from npm that some tests use as identity providers

clean: ## remove everything that make has made
	rm -rf $(VENV) $(COMPILED_VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .coverage *.egg-info
	rm -rf tests/providers/node_modules
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

# What is compiled has no editable install: the wheel is built again when a source changed. The compiler comes from
# requirements-dev.lock through --no-build-isolation, so the same source gives the same C.
$(COMPILED): $(shell find fastproxy -name '*.py') pyproject.toml hatch_build.py requirements-dev.lock $(COMPILED_RUNTIME)
	@echo "compiled: building, about a minute"
	rm -rf build/wheel
	FASTPROXY_COMPILE=1 $(PY) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(COMPILED_PY) -m pip install --quiet --no-deps --force-reinstall build/wheel/fastproxy-*.whl
	@touch $@

$(COMPILED_RUNTIME): requirements.lock
	test -x $(COMPILED_PY) || $(PY) -m venv $(COMPILED_VENV)
	$(COMPILED_PY) -m pip install --quiet --require-hashes -r requirements.lock
	@touch $@

# npm leaves its own stamp there.
$(NPM_PEERS): tests/providers/package-lock.json tests/providers/package.json
	cd tests/providers && npm ci
	@touch $@
