# make run    install, then scan: record a baseline, or show what changed since and which process did it
# make demo   real processes change files in a scratch directory; fimscan names each process
# make lab    compare answers with the truth: real processes, the real kernel's audit, each file system of servers,
#             quiet and noisy (root; ARGS="--fs btrfs" for a single one, listed in tests/lab/volume.py)
# make soak   fimscan schedule for some minutes, while auditd, rules, disk, database, receivers, clock and scheduler fail
#             (root; ARGS="--seed 7 --runs 3", ARGS=--short for the form that is in the tests)
# make test   run the tests
# make lint   run ruff and mypy
# make bench  compare the performance with other programs (LOG=FILE: a log of benchmarks/make_audit_log.py)
# make install    install into /opt/fimscan, with a link in /usr/local/bin (root; PREFIX, DESTDIR); make uninstall
# make deb    build a Debian package in dist
# make lock   write the lock files in locks/ again: newest allowed versions, with digests
# make audit-dependencies   check the locked libraries against known advisories; says "SKIPPED" without their service
# make docs   generate docs/reference and docs/man, and build the site in build/site, which can be read offline
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# What 'make run' monitors: make run WATCH=/usr/local
WATCH ?= /etc
CONFIG ?= fimscan.toml
DATABASE := sqlite:///$(abspath var/$(basename $(notdir $(CONFIG))).db)
# Two processes per core, because many tests wait; tests/conftest.py says which must run in the same process.
PARALLEL := -n $(shell expr 2 \* $$(nproc))

# Where 'make install' installs. Below DESTDIR, if it is set.
PREFIX ?= /opt/fimscan
DESTDIR ?=
BINDIR ?= /usr/local/bin
DATADIR ?= /usr/local/share
INSTALL_ENV = DESTDIR=$(DESTDIR) PREFIX=$(PREFIX) BINDIR=$(BINDIR) MANDIR=$(DATADIR)/man \
  UNITDIR=/usr/local/lib/systemd/system BASHDIR=$(DATADIR)/bash-completion/completions \
  ZSHDIR=$(DATADIR)/zsh/site-functions FISHDIR=$(DATADIR)/fish/vendor_completions.d
# Optional libraries: make install EXTRAS=postgresql,zstd
EXTRAS ?=

.PHONY: run demo lab soak test lint bench docs wheel install install-files uninstall deb lock audit-dependencies clean
.DEFAULT_GOAL := run

run: $(VENV)/.installed
	@$(BIN)/python -m demo.first_run --config $(CONFIG) --db $(DATABASE) --watch $(WATCH)

demo: $(VENV)/.installed
	@$(BIN)/python -m demo.demo

lab: $(VENV)/.developer
	$(BIN)/python -m tests.lab $(ARGS)
	$(BIN)/python -m tests.lab --noise $(ARGS)

soak: $(VENV)/.developer
	$(BIN)/python -m tests.soak $(ARGS)

test: $(VENV)/.developer
	$(BIN)/python -m pytest $(if $(findstring no:xdist,$(ARGS)),,$(PARALLEL)) $(ARGS)

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.developer
	$(BIN)/python benchmarks/scan_vs_aide.py
	$(BIN)/python benchmarks/cold_cache.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/audit_vs_ausearch.py $(LOG)
	$(BIN)/python benchmarks/join.py
	$(BIN)/python benchmarks/many_changes.py
	$(BIN)/python benchmarks/evidence_year.py
	$(BIN)/python -m benchmarks.owned
	$(BIN)/python -m benchmarks.page

docs: $(VENV)/.developer
	$(BIN)/python -m tools.make_reference
	$(BIN)/python -m mkdocs build --quiet --strict

lock: $(BIN)/python
	$(PIP_INSTALL) uv
	$(BIN)/python -m tools.lock_dependencies

# pip-audit has an environment of its own: its libraries are not ours.
audit-dependencies: $(BIN)/python
	-[ -x build/pip-audit/bin/pip-audit ] || { $(PYTHON) -m venv build/pip-audit && \
	  build/pip-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	$(BIN)/python -m tools.audit_dependencies build/pip-audit/bin/pip-audit

wheel: $(VENV)/.developer
	$(BIN)/python -m build --wheel

install:
	@$(INSTALL_ENV) packaging/install $(PYTHON) $(EXTRAS)

# All of it but the virtual environment.
install-files:
	@$(INSTALL_ENV) packaging/install_files

uninstall:
	@$(INSTALL_ENV) packaging/uninstall

# The package uses Debian's own Python, whatever PYTHON says.
deb:
	@packaging/make_deb dist

# Debian's Python lacks ensurepip and cannot create a virtual environment: as root, install the missing package.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fimscan needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -q -y python3-venv; } \
	  || { echo "python3-venv is missing: apt-get install python3-venv (as root), then run make again"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Developers get the libraries that users get. What builds the editable package is not locked; see packaging/make_venv.
$(VENV)/.installed: $(BIN)/python pyproject.toml locks/requirements.lock
	$(PIP_INSTALL) --require-hashes --requirement locks/requirements.lock
	$(PIP_INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/.developer: $(VENV)/.installed pyproject.toml requirements-dev.txt
	$(PIP_INSTALL) --requirement requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
