# make run    set everything up and do the main job: record a baseline, or show what changed since and who did it
# make demo   real processes change files in a scratch directory; see each of them named
# make lab    real processes under the real kernel's audit, on each file system that servers have, quiet and noisy:
#             what fimscan says, and the truth (root; ARGS="--fs btrfs" for one, tests/lab/volume.py has the others)
# make test   the tests        make lint   ruff and mypy        make bench   figures beside the peers'
#                                                               (LOG=FILE: made by benchmarks/make_audit_log.py)
# make docs   write the generated pages again (docs/reference, docs/man), and build/site, which needs no network to be read
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What 'make run' monitors: make run WATCH=/usr/local
WATCH ?= /etc
CONFIG ?= fimscan.toml
DATABASE := sqlite:///$(abspath var/$(basename $(notdir $(CONFIG))).db)
# A process for each processor; which tests have to stay together, tests/conftest.py says.
PARALLEL := -n auto

.PHONY: run demo lab test lint bench docs wheel clean
.DEFAULT_GOAL := run

run: $(VENV)/.installed
	@$(BIN)/python -m demo.first_run --config $(CONFIG) --db $(DATABASE) --watch $(WATCH)

demo: $(VENV)/.installed
	@$(BIN)/python -m demo.demo

lab: $(VENV)/.developer
	$(BIN)/python -m tests.lab $(ARGS)
	$(BIN)/python -m tests.lab --noise $(ARGS)

test: $(VENV)/.developer
	$(BIN)/python -m pytest $(if $(findstring no:xdist,$(ARGS)),,$(PARALLEL)) $(ARGS)

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.developer
	$(BIN)/python benchmarks/scan_vs_aide.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/audit_vs_ausearch.py $(LOG)
	$(BIN)/python benchmarks/join.py

docs: $(VENV)/.developer
	$(BIN)/python -m tools.make_reference
	$(BIN)/python -m mkdocs build --quiet --strict

wheel: $(VENV)/.developer
	$(BIN)/python -m build --wheel

# Debian's Python comes without ensurepip, so that it can't make a virtual environment: root gets the package.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fimscan needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -q -y python3-venv; } \
	  || { echo "python3-venv is missing: apt-get install python3-venv (as root), then again"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.developer: $(VENV)/.installed pyproject.toml requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
