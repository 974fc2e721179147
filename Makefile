# make run     serve the demo on http://127.0.0.1:3000
# make test    every test; what lacks a tool is skipped and says so
# make check   format, lint, types, unit tests: under a minute
#
# Everything is installed below this directory (.venv, node_modules). Only system-deps touches the system.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
PYTEST_ARGS ?=
# How many processes share the tests, file by file. Each waits for a wire half of its time: three keep two cores busy.
PROCESSES ?= 3

VENV := .venv
BIN := $(VENV)/bin
# What is compiled is kept, whatever the shell says: to rewrite every assertion anew takes each process five seconds.
# The first process that hangs or dies ends the run, and is named: a successor would only run the same test again.
PYTEST := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(abspath $(VENV))/pycache $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --max-worker-restart 0
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
CODE := $(wildcard trio_sio handlers examples tests benchmarks docs)
TYPED := $(wildcard trio_sio handlers examples tests docs/*.py)

.DELETE_ON_ERROR:
.PHONY: run test test-all check check-style check-tests fmt system-deps bench bench-quick bench-cluster bench-doors bench-idle bench-peers bench-workers autobahn python27 mutants soak-workers clean npm

run: $(VENV)/.installed-run npm
	@bundle=node_modules/socket.io-client/dist; \
	test -d $$bundle && set -- --client-bundle $$bundle || set --; \
	exec $(BIN)/trio-sio run handlers:routes --host $(HOST) --port $(PORT) --static handlers/web --docs-path /events "$$@"

test: $(VENV)/.installed-test npm
	$(PYTEST) $(PYTEST_ARGS)

# The same tests under every supported Python that is here.
test-all: npm
	@set -e; for version in 3.11 3.12 3.13; do \
	  if python$$version -c '' 2>/dev/null; then \
	    $(MAKE) --no-print-directory test PYTHON=python$$version VENV=.venv-$$version; \
	  else echo "python$$version is not installed: skipped."; fi; \
	done

# Under a minute on two cores, because the linters run beside the tests and the slowest of them looks again at what has changed
# only; the first time it looks at everything.
check: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory -j2 --output-sync=target check-style check-tests

LINTED := $(VENV)/.linted

check-style:
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(TYPED)
	@touch $(LINTED).now; \
	if test $(LINTED) -nt .flake8 -a $(LINTED) -nt $(VENV)/.installed-dev; then since="-newer $(LINTED)"; fi; \
	changed=$$(find $(CODE) -name '*.py' $$since); \
	if test -n "$$changed"; then echo "flake8: $$(echo $$changed | wc -w) files"; $(BIN)/flake8 $$changed || exit 1; fi; \
	mv $(LINTED).now $(LINTED)

check-tests:
	$(PYTEST) --quiet --ignore=tests/conformance --ignore=tests/hostile -m "not slow" $(PYTEST_ARGS)

fmt: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

# Side by side with Node's server, Bun's, python-socketio's and what the machine allows, and what grows: docs/performance.md is made of it.
# It ends after MINUTES, with fewer rounds if need be: on a slow machine give it more. See benchmarks/README.md.
ROUNDS ?= 5
SECONDS ?= 0.7
MINUTES ?= 12

bench: $(VENV)/.installed-run bench-peers
	$(BIN)/python benchmarks/bench.py --rounds $(ROUNDS) --seconds $(SECONDS) --minutes $(MINUTES)
	$(BIN)/python -m docs.performance

# The main columns of it, as a table; two minutes.
bench-quick: $(VENV)/.installed-run bench-peers
	$(BIN)/python benchmarks/run.py

# Broadcasts through Redis to two servers, beside Node's and python-socketio's; two minutes. Its part of docs/performance.md is replaced.
bench-cluster: $(VENV)/.installed-run bench-peers
	$(BIN)/python benchmarks/cluster.py --rounds $(ROUNDS) --minutes $(MINUTES)
	$(BIN)/python -m docs.performance

# Two workers beside one, a hand-over, and the workers' own bus beside Redis; two minutes. Its part of docs/performance.md is replaced.
bench-workers: $(VENV)/.installed-run
	$(BIN)/python benchmarks/workers.py --rounds $(ROUNDS) --minutes $(MINUTES)
	$(BIN)/python -m docs.performance

# The same application at each door; about five minutes. docs/doors.md has the table.
bench-doors: $(VENV)/.installed-test
	$(BIN)/python benchmarks/doors.py

# 10,000 clients that only answer pings, at ours, at Node's server and at Bun's; about six minutes.
bench-idle: $(VENV)/.installed-run bench-peers
	$(BIN)/python benchmarks/idle.py

# 517 cases of raw WebSocket against the native door; half an hour. See docs/autobahn.md.
PYTHON27 ?= python2.7

autobahn: $(VENV)/.installed-run .venv-autobahn/.installed | python27
	$(BIN)/python -m tests.autobahn.run --python $(PYTHON27)

python27:
	@$(PYTHON27) -c '' 2>/dev/null || { \
	  echo "Autobahn's test suite needs Python 2.7 with pip, and '$(PYTHON27)' does not run: install it, as with 'pyenv install 2.7.18'," \
	    "then 'make autobahn PYTHON27=/path/to/python2.7'." >&2; exit 1; }

# Outside of site-packages, zope/ lacks the __init__.py that Python 2 wants.
.venv-autobahn/.installed: tests/autobahn/requirements.txt | python27
	@rm -rf $(@D)
	@echo "Installing Python 2.7 packages into $(@D) ..."
	@$(PYTHON27) $(PIP_INSTALL) --target $(@D) -r $<
	@touch $(@D)/zope/__init__.py $@

# The library broken on purpose, one line at a time: the tests must notice each. Half an hour; docs/mutants.md counts them.
mutants: $(VENV)/.installed-test npm
	$(BIN)/python tests/mutants/run.py $(MUTANTS)

# Tests of workers that go on for longer: 10,000 hand-overs, fifty rolling restarts for each transport; some minutes.
soak-workers: $(VENV)/.installed-test npm
	TRIO_SIO_SOAK=1 $(PYTEST) --numprocesses 0 -o faulthandler_timeout=0 tests/workers/test_endurance.py tests/workers/test_recovery.py $(PYTEST_ARGS)

clean:
	rm -rf .venv .venv-* node_modules build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache benchmarks/sioload benchmarks/limit $(PEERS)/node_modules
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "trio_sio needs Python 3.11 or newer, and '$(PYTHON)' is not: name another one, as in 'make PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed: on Debian, run 'make system-deps' first; it installs python3-venv." >&2; exit 1; }

$(VENV)/.installed-run: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Python packages into $(VENV) ..."
	@$(BIN)/python $(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Python packages into $(VENV) ..."
	@$(BIN)/python $(PIP_INSTALL) --editable ".[test]"
	@touch $@ $(VENV)/.installed-run

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Python packages into $(VENV) ..."
	@$(BIN)/python $(PIP_INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed-run

# What trio_sio is measured against. What cannot be installed is left out of the figures, with the reason.
PEERS := benchmarks/peers

bench-peers: npm
	@if test .venv-bench/.installed -nt $(PEERS)/requirements.txt; then :; \
	elif $(PYTHON) -m venv .venv-bench && .venv-bench/bin/python $(PIP_INSTALL) -r $(PEERS)/requirements.txt; then touch .venv-bench/.installed; \
	else echo "python-socketio cannot be installed: going on without it."; fi
	@if ! command -v npm >/dev/null; then :; \
	elif test $(PEERS)/node_modules/.installed -nt $(PEERS)/package.json && test $(PEERS)/node_modules/.installed -nt $(PEERS)/package-lock.json; then :; \
	elif cd $(PEERS) && npm ci $(NPM_CI) --omit=peer >/dev/null; then touch node_modules/.installed; \
	else echo "Bun cannot be installed: going on without it."; fi

NPM_CI := --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund --loglevel=error

# Without npm, or without a network, the demo page takes its client from a CDN and the tests that need packages are skipped.
npm:
	@if ! command -v npm >/dev/null; then \
	  echo "npm is not installed: going on without the official JavaScript client ('make system-deps' installs npm)."; \
	elif test node_modules/.installed -nt package.json && test node_modules/.installed -nt package-lock.json; then :; \
	elif npm ci $(NPM_CI) >/dev/null; then touch node_modules/.installed; \
	else echo "'npm ci' failed: going on without the official JavaScript client."; fi

# Debian packages for what is missing, and nothing else. As root, or through sudo.
system-deps:
	@PATH="$$PATH:/usr/sbin:/sbin"; missing=""; \
	need() { command -v $$1 >/dev/null || missing="$$missing $$2"; }; \
	need redis-server redis-server; need chromium chromium; need nginx nginx; need haproxy haproxy; need node nodejs; need npm npm; need openssl openssl; need gcc "gcc libc6-dev"; need promtool prometheus; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	if test -z "$$missing"; then echo "Nothing is missing."; exit 0; fi; \
	if test $$(id -u) -eq 0; then sudo=; else sudo=sudo; fi; \
	$$sudo apt-get update && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $$missing
