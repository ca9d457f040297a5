# Everything that is typed here, from a fresh clone on; `make` alone lists it. Needs Python >= 3.11, gcc and git.
PYTHON ?= python3
PRESET ?=
WORKERS ?= 2

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_SITE_CACHE_DIR ?= $(CURDIR)/.quintet/dvc
.DEFAULT_GOAL := help
.PHONY: help install build repro repro-snakemake test lint bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@echo "PRESET=smoke (a file of presets/) puts its parameters in force first; PYTHON=python3.12 chooses the interpreter."

install: .venv/.installed ## Make .venv with the exact packages of requirements.lock

build: .venv/.built ## Install, and compile the native extension

repro: build ## Run the pipeline with DVC, and show its results
	$(if $(PRESET),python -m pipeline preset $(PRESET))
	@find .dvc/tmp -maxdepth 1 -name rwlock -empty -delete 2>/dev/null || true # what a kill -9 of DVC leaves, and DVC cannot read
	dvc repro
	@python -m pipeline results

repro-snakemake: build ## Run the same with Snakemake on two cores, record it with DVC, and show its results
	$(if $(PRESET),python -m pipeline preset $(PRESET))
	snakemake -j2
	dvc commit --force --quiet
	@python -m pipeline results

test: build lint ## Check the code's form, then run every test
	pytest -n $(WORKERS)

lint: build ## Check form, types and both graphs' style
	ruff check .
	ruff format --check --quiet .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint 2>&1 | tail -n 1

bench: build ## Measure what the README states about speed
	@for name in $$(grep -l __main__ bench/*.py | grep -v /gpu_ | xargs -n 1 basename -s .py); do echo "== bench.$$name"; python -m bench.$$name || exit; done

clean: ## Remove what building and checking left behind (results stay: see `python -m pipeline clean`)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .venv/.built

.venv/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is missing or older than Python 3.11: say make PYTHON=python3.12"; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "installing requirements.lock into .venv (some minutes the first time)"
	@python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@touch $@

.venv/.built: .venv/.installed pyproject.toml $(shell find native -type f)
	@echo "building the native extension"
	@python -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps .
	@touch $@
