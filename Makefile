# Everything here needs Python (3.11 or newer) and make, and nothing else: the first target that runs code creates the
# environment it runs in. A second call reuses it until pyproject.toml, setup.py or constraints.txt change.
#
#   make test PYTHON=python3.12 VENV=/tmp/venv

SUITABLE := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	$$p -c '$(SUITABLE)' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
USABLE := $(VENV)/.usable
READY := $(VENV)/.ready
INSTALLED := $(abspath $(VENV))/type-checked

# Two threads, as in tests/conftest.py: with more threads than free cores the small models here get slower, not faster.
export OMP_NUM_THREADS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo app test lint types docs pytest test-matrix exactness families replications notebooks screenshots inputs chromium bench bench-gpu format clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

demo: $(USABLE) ## a first look: trained models, their heads, one picture each
	$(BIN)/workbench demo

app: $(USABLE) ## the explorer in a browser, on this machine alone; ARGS="--port 8600 --workspace FOLDER"
	$(BIN)/workbench app $(ARGS)

test: lint types docs pytest ## everything a change must pass: lint, types and the tests

lint: $(READY) ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The four rooms beside workbench/ become its sub-packages only when installed, so mypy is shown what a wheel holds, in a
# folder outside the tree. It names workbench/kernels/dispatch.py where the tree has kernels/dispatch.py.
types: $(READY) ## mypy, strict, on the package as it installs
	rm -rf $(INSTALLED)/workbench
	$(BIN)/python setup.py --quiet build_py --build-lib $(INSTALLED)
	cd $(INSTALLED) && $(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p workbench

# The API pages are read from the package as it installs, as for types.
docs: $(READY) ## the site, into build/site: pages under docs/, the API, notebooks; a warning is an error
	rm -rf $(INSTALLED)/workbench
	$(BIN)/python setup.py --quiet build_py --build-lib $(INSTALLED)
	WORKBENCH_BUILT=$(INSTALLED) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --clean

# pytest itself rather than python -m pytest, which would put the root on the import path: transformers takes a top-level
# folder called kernels for the package of that name.
# One thread a worker: the models are small, and threads beyond the cores make them slower.
pytest: $(READY) inputs chromium ## the tests alone; ARGS="-k induction -x" narrows them
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadgroup $(ARGS)

# Outside `make test`: it makes an environment for each older version, which takes minutes, and so do the tests.
test-matrix: $(READY) ## the adapters' tests against transformers 5.9, 5.15 and the pinned one; ARGS="-k mamba" narrows
	$(BIN)/python -m tests.matrix $(ARGS)

exactness: $(READY) ## every family's error in every situation: docs/exactness.md and the README's table
	$(BIN)/python -m tests.families.exactness $(ARGS)

families: $(READY) ## what can be asked of every family: the README's table, in half a minute
	$(BIN)/python -m tests.families.abilities

replications: $(READY) ## published results asked again here: docs/replications.md
	$(BIN)/workbench replicate --all --out docs $(ARGS)

notebooks: $(READY) ## run the notebooks and write them with outputs and pictures; ARGS=02 makes one
	$(BIN)/python -m notebooks $(ARGS)

inputs: $(READY) ## fetch the real model that some tests use, where it can be had
	$(BIN)/python -m tests.real_inputs

screenshots: $(READY) chromium ## picture every page of the explorer: docs/explorer/*.png; ARGS=heads makes one
	$(BIN)/python -m tests.app.screenshots $(ARGS)

# Where it cannot be had, the tests in a browser are skipped with a sentence.
chromium: ## install the browser that the explorer's tests use, where apt and rights allow
	@test -n "$$WORKBENCH_CHROMIUM" || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		command -v google-chrome >/dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		echo "There is no Chromium and none can be installed; the tests in a browser will be skipped."

bench: $(READY) ## race the kernels against what one would use instead: docs/what-it-costs.md
	$(BIN)/python -m benchmarks $(ARGS)

bench-gpu: $(READY) ## the same on a CUDA device, where there is one
	$(BIN)/python -m benchmarks --gpu $(ARGS)

format: $(READY) ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment, builds and caches
	rm -rf $(VENV) .matrix build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone, at the version constraints.txt names: see the note there. Whoever uses the workbench needs
# none of the tools of those who change it; pip is not quiet, because it takes minutes.
$(USABLE): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c '$(SUITABLE)' 2>/dev/null || \
		{ echo "This needs Python 3.11 or newer; name one as in: make $(MAKECMDGOALS) PYTHON=python3.11." >&2; exit 1; }
	@echo "Installing into $(VENV), about 3 GB; this takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e .
	@touch $(USABLE)

$(READY): $(USABLE)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,ray,notebooks]"
	@touch $(READY)
