# `make` lists the targets. Nothing here swallows a failure, and nothing deletes results or the cache.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Where the data sets lie when they need not be downloaded; relative to this folder, or absolute.
HEADWATER_DATA_MIRROR ?= ../shared/data
MIRROR := $(abspath $(HEADWATER_DATA_MIRROR))
# How many processes run tests side by side; each computes on one core.
TEST_PROCESSES ?= 2
# What `make oldest` runs, and with what.
PYTHON ?= python3
LIBRARY := tests/laws tests/gradients tests/curvature tests/solvers tests/projections tests/metrics

.PHONY: help .venv benchmark plan status smoke results leaderboard speed workflow-speed peers-parity dag docs test oldest lint format clean

help: ## List the targets
	@grep -hE '^[.a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([.a-z-]+):.*## /\1\t/' | expand -t 14

.venv: $(STAMP) ## Make the environment, or renew it when its versions changed

$(STAMP): pyproject.toml pipelines/pyproject.toml constraints.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[workflow,test,docs]' -e ./pipelines
	touch $@

benchmark: $(STAMP) ## Run every stage that is out of date and show the tables; SETTINGS="NAME ..." for others
	$(BIN)/python -m pipelines.benchmark $(SETTINGS:%=settings/%/dvc.yaml)

plan: $(STAMP) ## Say what settings take before anything runs, and what does not fit; SETTINGS="NAME ..." for others
	$(BIN)/python -m pipelines.plan $(SETTINGS)

status: $(STAMP) ## Say what is out of date and why, and what it will cost; SETTINGS as above
	$(BIN)/python -m pipelines.status $(SETTINGS:%=settings/%/dvc.yaml)

smoke: $(STAMP) ## Run the whole graph on small settings, in a throw-away copy
	HEADWATER_DATA_MIRROR='$(MIRROR)' $(BIN)/python -m tests.smoke

results: $(STAMP) ## Copy the tables of results/ into the README and the documentation
	$(BIN)/python results/pages.py

leaderboard: $(STAMP) ## Write the leaderboard page of all settings, build/leaderboard.html
	$(BIN)/python -m pipelines.leaderboard

speed: $(STAMP) ## Measure speed against other libraries, both sides in one run (about an hour)
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.peers

workflow-speed: $(STAMP) ## Measure DVC and the flow on the benchmark and on synthetic graphs (a quarter of an hour)
	$(BIN)/python -m benchmarks.workflow

peers-parity: $(STAMP) ## Check our numbers against other libraries' (1 minute, and 3 once for their environment)
	peers=$$($(BIN)/python -m benchmarks.environment); "$$peers" -m benchmarks.parity

dag: $(STAMP) ## Draw the stage graph
	$(BIN)/python -m dvc dag

docs: $(STAMP) ## Build the documentation as a site, build/site/index.html
	$(BIN)/python -m mkdocs build

test: lint ## Lint, types, import contracts, then all tests
	HEADWATER_DATA_MIRROR='$(MIRROR)' OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

oldest: ## Test the library on the oldest PyTorch that is allowed (6 GB); PYTHON=python3.13 on another Python
	$(PYTHON) -m venv build/oldest
	build/oldest/bin/python -m pip install --quiet . torch==2.6.0 pydantic pytest-xdist hypothesis transformers peft
	HEADWATER_DATA_MIRROR='$(MIRROR)' OMP_NUM_THREADS=1 build/oldest/bin/python -m pytest -n $(TEST_PROCESSES) $(LIBRARY)

lint: $(STAMP) ## Style, format, types, and the arrows between the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Put the code into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove build products and tool caches; never results or the DVC cache
	rm -rf build dist *.egg-info .smoke .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find headwater stages pipelines tests -name __pycache__ -type d -prune -exec rm -rf {} +
