# Two commands: `make demo` runs the main job, `make test` passes the tests. Each sets up what it
# needs in .venv; the second time neither downloads anything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALLED := $(VENV)/.installed
JUDGES := $(VENV)/judges
# What judges our formats or is a client of ours, each apart from our own environment.
ALL_JUDGES := $(JUDGES)/model-signing $(JUDGES)/deployment $(JUDGES)/advisories $(JUDGES)/clients \
	$(JUDGES)/hub-js $(JUDGES)/interface $(JUDGES)/plugins
PEERS := $(VENV)/peers
# One process more than there are cores, because they wait for servers and disks; a file of tests
# stays in one of them, where its servers are. Their order is that of tests/conftest.py.
WORKERS := $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores + 1 : 5)))
JOBS := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Each of the hundreds of programs that the tests start would compile all of ours again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install judges demo test lint bench peers soak clean

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

# Most of what these install is never imported: nothing is compiled before it is (--no-compile).
$(JUDGES)/%/.installed: tests/interop/judges/%.txt $(INSTALLED)
	@test -x $(@D)/bin/python || $(BIN)/python -m venv $(@D)
	@rm -f $(@D)/lib/*/site-packages/forge.pth
	@echo "Installing $* into $(@D) (first time only)"
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --no-compile --no-deps --require-hashes --requirement $<
	@$(@D)/bin/python -m pip --disable-pip-version-check check >/dev/null
	@test $* != plugins || $(ALSO_OURS)
	@touch $@

# Our own plug-ins run inside of other programs, so these also see what is installed for the tests;
# pip must not, or it would take that for its own.
ALSO_OURS = $(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	> "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/forge.pth"

# npm compares each package with the digest in the lock, and runs nothing of them.
$(JUDGES)/hub-js/.installed: tests/interop/judges/hub-js/package-lock.json $(INSTALLED)
	@if command -v npm >/dev/null; then \
		echo "Installing hub-js into $(@D) (first time only)" && mkdir -p $(@D) && \
		cp $(<D)/package.json $< $(@D)/ && cd $(@D) && \
		npm ci --ignore-scripts --omit=optional --no-audit --no-fund --loglevel error && touch .installed; \
	elif test -n "$$CI"; then echo "npm is missing: apt-get install nodejs npm" >&2; exit 1; \
	else echo "npm is missing: what needs @huggingface/hub is skipped"; fi

demo: $(INSTALLED)
	@$(BIN)/forge-server demo $(DEMO)

judges: $(ALL_JUDGES:=/.installed)

test: $(INSTALLED) judges
	@FORGE_JUDGE_ADVISORIES=$(JUDGES)/advisories/bin FORGE_JUDGE_CLIENTS=$(JUDGES)/clients/bin \
		FORGE_JUDGE_HUB_JS=$(JUDGES)/hub-js/node_modules FORGE_JUDGE_INTERFACE=$(JUDGES)/interface/bin \
		FORGE_JUDGE_MODEL_SIGNING=$(JUDGES)/model-signing/bin/model_signing \
		FORGE_JUDGE_DEPLOYMENT=$(JUDGES)/deployment/bin/python FORGE_JUDGE_PLUGINS=$(JUDGES)/plugins/bin \
		$(BIN)/python -m pytest $(JOBS) $(PYTEST)

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(INSTALLED)
	@$(BIN)/python -m benchmarks

# Programs that ours is compared with; the others are Debian's docker-registry and skopeo. What dvc
# needs for experiments alone is left out: it comes as source only.
peers: $(PEERS)/mlflow/.installed $(PEERS)/dvc/.installed $(PEERS)/devpi/.installed \
		$(PEERS)/pypiserver/.installed $(PEERS)/hf/.installed

$(PEERS)/%/.installed: benchmarks/pins/%.txt $(INSTALLED)
	@test -x $(@D)/bin/python || $(BIN)/python -m venv $(@D)
	@echo "Installing $* into $(@D) (first time only)"
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --requirement $<
	@touch $@

soak: $(INSTALLED)
	@$(BIN)/python -m benchmarks.soak --rounds 500
	@$(BIN)/python -m benchmarks.soak_server
	@FORGE_TEST_EVERY_STEP=1 $(BIN)/python -m pytest $(JOBS) tests/faults tests/unit/test_signing_properties.py \
		tests/integration/test_server_s3_upkeep.py tests/e2e/test_s3_registry.py \
		tests/unit/test_compare_tensors.py tests/e2e/test_browser.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
