# Two commands: `make demo` runs the main job, `make test` passes the tests. Each sets up what it
# needs in .venv; the second time neither downloads anything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALLED := $(VENV)/.installed
JUDGES := $(VENV)/judges/model-signing
SCHEMAS := $(VENV)/judges/deployment
ADVISORS := $(VENV)/judges/advisories
CLIENTS := $(VENV)/judges/clients
PEERS := $(VENV)/peers
# One process a core; a file of tests stays in one of them, where its servers are. Their order is
# that of tests/conftest.py.
JOBS := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Each of the hundreds of programs that the tests start would compile all of ours again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test lint bench peers soak clean

help:
	@echo "make demo    start a registry, publish, verify and install two real components"
	@echo "make test    run every test"
	@echo "make lint    ruff and mypy --strict"
	@echo "make bench   measure the promised ratios (minutes)"
	@echo "make peers   install the programs that make bench compares ours with"
	@echo "make soak    kill the client 500 times while it moves files, and servers 500 times; break every step (hours)"
	@echo "make clean   remove .venv and caches"

install: $(INSTALLED)

$(INSTALLED): constraints.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (first time only)"
	@$(PIP) install --no-deps --require-hashes --requirement constraints.txt
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

# The lists are complete, so nothing is resolved again (--no-deps): a resolver would ask for the
# newest release of a package named with an extra, and find it unpinned.

# Programs that judge our formats, each apart from our own environment.
$(JUDGES)/.installed: tests/interop/judges/model-signing.txt $(INSTALLED)
	@test -x $(JUDGES)/bin/python || $(BIN)/python -m venv $(JUDGES)
	@echo "Installing the independent verifier into $(JUDGES) (first time only)"
	@$(JUDGES)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --requirement $<
	@$(JUDGES)/bin/python -m pip --disable-pip-version-check check >/dev/null
	@touch $@

$(SCHEMAS)/.installed: tests/interop/judges/deployment.txt $(INSTALLED)
	@test -x $(SCHEMAS)/bin/python || $(BIN)/python -m venv $(SCHEMAS)
	@echo "Installing the schemas of compose and Kubernetes into $(SCHEMAS) (first time only)"
	@$(SCHEMAS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --requirement $<
	@$(SCHEMAS)/bin/python -m pip --disable-pip-version-check check >/dev/null
	@touch $@

$(ADVISORS)/.installed: tests/interop/judges/advisories.txt $(INSTALLED)
	@test -x $(ADVISORS)/bin/python || $(BIN)/python -m venv $(ADVISORS)
	@echo "Installing tools that look for advisories into $(ADVISORS) (first time only)"
	@$(ADVISORS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --requirement $<
	@$(ADVISORS)/bin/python -m pip --disable-pip-version-check check >/dev/null
	@touch $@

$(CLIENTS)/.installed: tests/interop/judges/clients.txt $(INSTALLED)
	@test -x $(CLIENTS)/bin/python || $(BIN)/python -m venv $(CLIENTS)
	@echo "Installing clients written by others into $(CLIENTS) (first time only)"
	@$(CLIENTS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --requirement $<
	@$(CLIENTS)/bin/python -m pip --disable-pip-version-check check >/dev/null
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/forge-server demo $(DEMO)

test: $(INSTALLED) $(JUDGES)/.installed $(SCHEMAS)/.installed $(ADVISORS)/.installed $(CLIENTS)/.installed
	@FORGE_JUDGE_ADVISORIES=$(ADVISORS)/bin FORGE_JUDGE_CLIENTS=$(CLIENTS)/bin FORGE_JUDGE_MODEL_SIGNING=$(JUDGES)/bin/model_signing FORGE_JUDGE_DEPLOYMENT=$(SCHEMAS)/bin/python $(BIN)/python -m pytest $(JOBS) $(PYTEST)

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(INSTALLED)
	@$(BIN)/python -m benchmarks

# Programs that ours is compared with; the others are Debian's docker-registry and skopeo. What dvc
# needs for experiments alone is left out: it comes as source only.
peers: $(PEERS)/mlflow/.installed $(PEERS)/dvc/.installed $(PEERS)/devpi/.installed \
		$(PEERS)/pypiserver/.installed

$(PEERS)/%/.installed: benchmarks/pins/%.txt $(INSTALLED)
	@test -x $(@D)/bin/python || $(BIN)/python -m venv $(@D)
	@echo "Installing $* into $(@D) (first time only)"
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --requirement $<
	@touch $@

soak: $(INSTALLED)
	@$(BIN)/python -m benchmarks.soak --rounds 500
	@$(BIN)/python -m benchmarks.soak_server
	@FORGE_TEST_EVERY_STEP=1 $(BIN)/python -m pytest $(JOBS) tests/faults tests/unit/test_signing_properties.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
