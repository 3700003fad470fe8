# On a fresh machine with Python >= 3.11 and make, `make campaign` and `make test` do
# everything, set-up included. The tools run as modules of .venv, never by their scripts:
# a script names the directory it was installed in, and breaks when the checkout moves.

PYTHON ?= python3
ARGS ?=

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup campaign simulated mutants handful local quorum images containers toxiproxy test check lint types layers format clean environment

help: ## this list
	@echo "make [target] [PYTHON=python3.12] [ARGS='options for pytest']"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1:\2/p' Makefile | awk -F: '{ printf "%-11s %s\n", $$1, $$2 }'

# A handful on real processes, over both transports: what only real sockets, disks and clocks can show.
LOCAL_HANDFUL := baseline or halves or one-way or kills or pauses

# Ten with a roster: partitions, votes, certificates and liars. A liar is a process like any other.
QUORUM_SET := minority-readonly or asymmetric or flapping-at-the-bound or equivocators or forgers or colluders \
	or double-voters or beyond-f or restarted-voters or six-nodes
LIARS_IN_CONTAINERS := quiet-equivocators or forgers or double-voters or beyond-f

campaign: simulated handful ## run every fault campaign simulated, and a handful on real processes

simulated: $(INSTALLED) ## run every fault campaign in the simulator (pytest harness/)
	$(VENV_PYTHON) -m pytest harness/ $(ARGS)

handful: $(INSTALLED) toxiproxy
	$(VENV_PYTHON) -m pytest harness/ --knhk-backend local -k "$(LOCAL_HANDFUL)"

local: $(INSTALLED) toxiproxy ## run every campaign that local processes can do, over QUIC and over TCP
	$(VENV_PYTHON) -m pytest harness/ --knhk-backend local $(ARGS)

quorum: $(INSTALLED) toxiproxy ## run ten campaigns of quorums and liars on local processes (ARGS="-k ..." for others)
	$(VENV_PYTHON) -m pytest harness/ --knhk-backend local -k "($(QUORUM_SET)) and quic" $(ARGS)

# What only containers can show: their network taken away, the packet filter, volumes.
CONTAINER_SET := halves or one-way or kills or pauses or disconnect or packet-filter

images: $(INSTALLED) toxiproxy ## build the container images, without any image registry (root, Docker)
	@PYTHON=$(VENV_PYTHON) compose/build-images

containers: $(INSTALLED) ## run a set of the campaigns in containers, four with liars, over QUIC and over TCP
	$(VENV_PYTHON) -m pytest harness/ --knhk-backend docker -k "$(CONTAINER_SET) or $(LIARS_IN_CONTAINERS)" $(ARGS)

mutants: $(INSTALLED) ## hunt every planted bug in the simulator (ARGS="--jobs 4", or the names of some)
	$(VENV_PYTHON) -m harness mutants $(ARGS)

# Without Go there is no Toxiproxy server to build: campaigns over TCP are skipped then, and say so.
toxiproxy: $(INSTALLED)
	@faults/install-toxiproxy || echo "campaigns over TCP will be skipped"

test: $(INSTALLED) toxiproxy ## run the tests (pytest)
	$(VENV_PYTHON) -m pytest $(ARGS)

check: lint types layers ## lint, format, types and layer contracts; make -k check shows all

lint: $(INSTALLED)
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

types: $(INSTALLED)
	$(VENV_PYTHON) -m mypy

layers: $(INSTALLED)
	$(VENV_PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

format: $(INSTALLED) ## rewrite the code as `make check` wants it
	$(VENV_PYTHON) -m ruff check --fix --exit-zero .
	$(VENV_PYTHON) -m ruff format .

setup: $(INSTALLED) ## prepare .venv, and nothing else

clean: ## remove caches and build products; .venv and store/ stay
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name $(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# "environment" while .venv has no interpreter to run: never made, or made for one that is gone.
# A rule for the file itself would not do: the interpreter is a link to a file of the system, so
# it looks older than the stamp even when it has just been made anew.
MISSING := $(shell test -x $(VENV_PYTHON) || echo environment)

$(INSTALLED): pyproject.toml constraints.txt $(MISSING)
	@$(VENV_PYTHON) -m pip --version >/dev/null 2>&1 || $(VENV_PYTHON) -m ensurepip
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Asked before anything is written: without ensurepip, venv leaves half an environment behind.
# --clear: what is in a .venv whose interpreter is gone was installed for that one.
environment:
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON): not found; install Python 3.11 or newer, or name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON): older than Python 3.11; name a newer one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON): has no venv module; install it (on Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
