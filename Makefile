# Everything that is typed here, from a fresh clone on; `make` alone lists it. Needs Python >= 3.11, gcc and git.
PYTHON ?= python3
PRESET ?=
WORKERS ?= 2

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_SITE_CACHE_DIR ?= $(CURDIR)/.quintet/dvc
# Addresses that are not random, where that may be said: ThreadSanitizer cannot run with as many random bits as some kernels take.
FIXED = $(shell setarch -R true 2>/dev/null && echo setarch -R)
.DEFAULT_GOAL := help
.PHONY: help install build repro repro-snakemake test test-full test-cluster lint sanitize sanitizers fuzz bench clean

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

test: build lint sanitize ## Check the code's form, then run the tests, those of the C++ library under sanitizers
	pytest -n $(WORKERS)

test-full: build lint sanitize ## The same with the tests that take long or need packages of their own (marker `full`)
	pytest -n $(WORKERS) -m ""

test-cluster: build ## Run preset smoke by a real Slurm on this machine (as root; installs Debian's packages of it where they are missing)
	QUINTET_SERVICES=required pytest tests/cluster

lint: build ## Check form, types and both graphs' style
	ruff check .
	ruff format --check --quiet .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint 2>&1 | tail -n 1

sanitize: sanitizers .venv/.installed ## Run the C++ tests and the fuzz corpus under AddressSanitizer, UBSan and ThreadSanitizer
	@cd native && for preset in asan tsan; do \
		echo "building the C++ tests for $$preset"; cmake --preset $$preset >/dev/null || exit; \
		cmake --build --preset $$preset -j $(WORKERS) > ../build/$$preset.log || { cat ../build/$$preset.log; exit 1; }; \
		$(FIXED) ctest --preset $$preset || exit; done

sanitizers:
	@for name in address undefined thread; do \
		echo 'int main() {}' | $${CXX:-c++} -fsanitize=$$name -x c++ - -o /dev/null 2>/dev/null || \
		{ echo "error: $${CXX:-c++} cannot link -fsanitize=$$name: install gcc's sanitizers (Debian: they come with g++)"; exit 1; }; done

fuzz: build ## Read damaged files of every kind for a minute, none of which may do more than be refused (SECONDS=600: longer)
	python -m tests.fuzz.loaders --seconds $(or $(SECONDS),60)

bench: build ## Measure what the README states about speed (on a GPU: bench/gpu.sh)
	@for name in $$(grep -l __main__ bench/*.py | grep -v -e /gpu_ -e /llama | xargs -n 1 basename -s .py); do echo "== bench.$$name"; python -m bench.$$name || exit; done

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
