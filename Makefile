# What there is to run. Each target finds or makes the environment that it needs, in .venv.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# The first of these that is Python 3.11 or newer.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# Where a network has an authority of its own, the system knows it, and uv must ask the system.
export UV_SYSTEM_CERTS := 1

.PHONY: help demo test test-more test-all samples lint bench bench-quick servers clean

help: ## what can be run
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

demo: $(VENV)/ready ## generate a service, migrate it, and watch it work
	@$(BIN)/python docs/demo.py

test: $(VENV)/ready ## the tests, 10 minutes on two cores: rendered services on SQLite and a real PostgreSQL
	@$(BIN)/python -m pytest -n auto

test-more: $(VENV)/ready ## what continuous integration runs besides: the same on the other drivers, and more
	@$(BIN)/python -m pytest -n auto -m "more and not whole"

test-all: $(VENV)/ready ## both, and every change to the layer that a test must notice
	@$(BIN)/python -m pytest -n auto -m ""

samples: $(VENV)/ready ## render, lint, type, migrate and test the samples, or those in SAMPLES="..."
	@$(BIN)/python tests/samples.py $(SAMPLES)

lint: $(VENV)/ready ## the checks of the template's own Python
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/pyright

SERVERS := mariadb-server galera-4 pgbouncer postgresql
servers: ## the servers that do not come from PyPI (PostgreSQL with TLS among them), by apt, as root
	@if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "Nothing was installed: as root on Debian this installs $(SERVERS)."; \
	else \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
			--no-install-recommends $(SERVERS); \
	fi

bench: $(VENV)/ready ## the layer beside its peers, 15 minutes on a quiet machine; writes docs/performance.md
	@$(BIN)/python -m benchmarks --scale full --write

bench-quick: $(VENV)/ready ## the same in some minutes, and only printed
	@$(BIN)/python -m benchmarks --scale quick

clean: ## remove what the other targets made
	@rm -rf $(VENV) build

$(VENV)/ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or say make PYTHON=..."; exit 1; }
	@echo "Making the environment in $(VENV), with $(PYTHON) ..."
	@rm -rf $(VENV)
	@# Debian keeps what venv needs in a package of its own; uv brings it along.
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 \
		|| uv venv --quiet --seed --clear --python $(PYTHON) $(VENV) 2>/dev/null \
		|| { [ "$$(id -u)" = 0 ] && apt-get install -qq -y python3-venv >/dev/null \
			&& $(PYTHON) -m venv --clear $(VENV); } \
		|| { echo "A virtual environment cannot be made: install python3-venv, or uv."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --group dev --group bench
	@touch $@
