# `make help` lists the targets. ARGS is passed on: make run ARGS="--config my.toml"
SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# Written last: a virtual environment without them is half made, and is made anew. They hold the
# folder's name, because the scripts in a virtual environment do not survive a move or a copy.
# RUNTIME: what running needs is there; STAMP: what developers need is there too.
RUNTIME := $(VENV)/.runtime
STAMP := $(VENV)/.installed
ifneq ($(shell test -x $(BIN)/python && cat $(RUNTIME) 2>/dev/null),$(CURDIR))
.PHONY: $(RUNTIME)
endif
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.PHONY: run init demo backtest-demo send-test test test-all coverage mutants soak fuzz check bench first-channel docs fmt lock audit release help
PYTHONS := 3.11 3.12 3.13 3.14
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

run: $(RUNTIME) ## start Lowtide: everything in one process
	@$(BIN)/lowtide run $(ARGS)

demo: $(RUNTIME) ## play the bundled crash: no network, no token
	@$(BIN)/lowtide demo $(ARGS)

backtest-demo: $(RUNTIME) ## what a backtest says of ten made days with a crash: no network
	@$(BIN)/lowtide demo --backtest $(ARGS)

init: $(RUNTIME) ## three questions, then your own configuration, a token and a test message
	@$(BIN)/lowtide init $(ARGS)

send-test: $(RUNTIME) ## post a test message to every chat, or say what is missing
	@$(BIN)/lowtide send-test $(ARGS)

test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-all: ## run the tests under each Python from 3.11 to 3.14 that is here
	@set -u; failed=; \
	for v in $(PYTHONS); do \
	  for p in python$$v "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$v.*/bin/python $(BIN)/python; do \
	    "$$p" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$v')" 2>/dev/null && break; p=; \
	  done; \
	  if [ -z "$$p" ]; then echo "Python $$v is not here: its tests are left out"; continue; fi; \
	  echo "Python $$v:"; \
	  $(MAKE) --no-print-directory test VENV=build/python$$v PYTHON="$$p" || failed="$$failed $$v"; \
	done; \
	if [ "$$failed" ]; then echo "failed under Python$$failed" >&2; exit 1; fi

coverage: $(STAMP) ## run the tests, measuring lines and branches; fails below the floor
	@rm -rf build/coverage; mkdir -p build/coverage
	$(BIN)/coverage run -m pytest -n auto --dist worksteal $(ARGS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutants: $(STAMP) ## small mistakes in important modules, which tests must see; ARGS="--since main"
	@$(BIN)/python -m tests.gates.mutants $(ARGS)

soak: $(STAMP) ## kill and freeze all roles and Redis for minutes, then the sender a hundred times
	LOWTIDE_SOAK=1 $(BIN)/python -m pytest -n 0 -s tests/bot/test_storm.py tests/bot/delivery/test_telegram_chaos.py $(ARGS)

fuzz: $(STAMP) ## one venue after the other goes mad on loopback; the others must not notice
	LOWTIDE_FUZZ=200 $(BIN)/python -m pytest -n auto tests/streams/test_bulkheads.py $(ARGS)

check: $(STAMP) ## format, lint, spelling, types, import rules, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory test

bench: $(STAMP) ## measure speed and memory, write build/bench.json
	$(BIN)/python -m tests.bench $(ARGS)

first-channel: $(STAMP) ## how long it takes from a wheel to a first message and to a channel
	@$(BIN)/python -m tests.first_channel

docs: $(STAMP) ## the documentation as a site in build/site; a link that leads nowhere is an error
	@rm -rf build/docs && mkdir -p build/docs/docs && cp *.md build/docs && cp docs/* build/docs/docs
	@$(BIN)/zensical build --strict

fmt: $(STAMP) ## format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

LOCK := uv pip compile pyproject.toml --universal --generate-hashes --quiet --python-version 3.11 \
  --no-header
lock: ## write both locks anew (needs uv; ARGS=--upgrade takes newer versions)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(LOCK) --group build -o requirements.lock $(ARGS)
	$(LOCK) --group dev -c requirements.lock -o requirements-dev.lock $(ARGS)

# In an environment of its own: it brings 30 packages that nothing here needs otherwise.
AUDIT := build/audit
audit: $(STAMP) ## known weaknesses in what running needs, of the package index or as ARGS say
	@test -x $(AUDIT)/bin/pip-audit || { rm -rf $(AUDIT); $(BIN)/python -m venv $(AUDIT); \
	  $(AUDIT)/bin/python -m pip --quiet --disable-pip-version-check --no-input install pip-audit==2.10.1; }
	@said=$$($(AUDIT)/bin/pip-audit -r requirements.lock --require-hashes --disable-pip --strict \
	  --progress-spinner off $(ARGS) 2>&1) && { echo "$$said"; exit 0; }; \
	case "$$said" in *"not found on PyPI"*) \
	  echo 'the package index here keeps no list of known weaknesses, so nothing was looked up:' \
	    'make audit ARGS="-s osv" asks osv.dev' >&2; exit 2;; esac; \
	echo "$$said" >&2; exit 1

release: $(STAMP) ## commit, tag and build VERSION=x.y.z, after make check; publishes nothing
	@$(BIN)/python -m tests.gates.release --check "$(VERSION)"
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m tests.gates.release "$(VERSION)"

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

# Debian's python3 comes without python3-venv, so that one package is installed where we may.
$(RUNTIME): requirements.lock
	@set -eu; \
	for p in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
	  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; p=; \
	done; \
	test "$$p" || { echo "Lowtide needs Python 3.11 or newer; make PYTHON=... names one" >&2; exit 1; }; \
	if ! "$$p" -c 'import ensurepip, venv' 2>/dev/null; then \
	  install='apt-get -q update; apt-get -qy install --no-install-recommends python3-venv'; \
	  how="su - -c"; try=false; \
	  if command -v sudo >/dev/null; then how="sudo sh -c"; try="sudo -n sh -c"; fi; \
	  if [ "$$(id -u)" = 0 ]; then try="sh -c"; echo "installing python3-venv"; fi; \
	  log=$$($$try "$$install" 2>&1 </dev/null) || { \
	    echo "$$log" | sed '/^$$/d' | tail -n 5 >&2; \
	    echo "$$p cannot make a virtual environment. Run this, then make again:" >&2; \
	    echo "  $$how '$$install'" >&2; exit 1; }; \
	fi; \
	echo "creating .venv (once, about a minute)"; \
	rm -rf $(VENV); \
	"$$p" -m venv $(VENV); \
	{ $(PIP) install --require-hashes --only-binary :all: -r requirements.lock \
	  && $(PIP) install --no-deps --no-build-isolation --no-index --editable .; } \
	  || { echo "the packages were not installed: see above, then make again" >&2; exit 1; }; \
	pwd -P > $@

$(STAMP): $(RUNTIME) requirements-dev.lock
	@echo "adding developers' tools"
	@$(PIP) install --require-hashes --only-binary :all: -r requirements-dev.lock \
	  || { echo "the packages were not installed: see above, then make again" >&2; exit 1; }
	@pwd -P > $@
