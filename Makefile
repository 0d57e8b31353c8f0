# What a clone needs is Python 3.11 to 3.13 and make; everything else is installed into .venv.
#
#   make demo        from data to verified firmware: build/demo/
#   make test        lint, type check and the tests, two at a time; PYTEST_OPTIONS="-k softmax" narrows them
#   make help        all targets

VENV ?= .venv
HGQ_VENV ?= .venv-hgq
BUILD ?= build
PYTEST_OPTIONS ?=
DEMO_OPTIONS ?=
BENCH_OPTIONS ?=
LOCK_OPTIONS ?=

LOCK := requirements.lock
HGQ_LOCK := requirements-hgq.lock
STAMP := $(VENV)/.installed
HGQ_STAMP := $(HGQ_VENV)/.installed
LOG := $(VENV)/install.log
BIN := $(VENV)/bin
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
# The folders that setuptools maps to subpackages (package-dir in pyproject.toml).
MAPPED := compile firmware sim train

# A foreign module path would shadow what the environment holds.
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help env demo test test-hgq lint typecheck bench lock wheel clean distclean

help:
	@echo "make demo       train, compile and verify the jet network -> $(BUILD)/demo/ (DEMO_OPTIONS=--fast)"
	@echo "make test       ruff, mypy and the tests (PYTEST_OPTIONS='-k softmax')"
	@echo "make test-hgq   the tests of HGQ2 models, in an environment of their own: $(HGQ_VENV)"
	@echo "make lint       ruff: rules and formatting"
	@echo "make typecheck  mypy --strict"
	@echo "make bench      the speeds quoted in README.md, on the design that make demo left"
	@echo "make wheel      source distribution and wheel -> dist/"
	@echo "make lock       $(LOCK) and $(HGQ_LOCK) from pyproject.toml (LOCK_OPTIONS=--upgrade for newer versions)"
	@echo "make env        only the environment $(VENV)"
	@echo "make clean      remove build products; make distclean: $(VENV) too"

env: $(STAMP)

demo: $(STAMP)
	$(BIN)/samebits demo --output $(BUILD)/demo $(DEMO_OPTIONS)

# The entry points are called, never `python -m`: that would put this folder on sys.path.
test: lint typecheck
	$(BIN)/pytest -n 2 --dist loadfile $(PYTEST_OPTIONS)

# HGQ2 cannot share an environment with QKeras: its wheels hold a package qkeras of their own.
test-hgq: $(HGQ_STAMP)
	$(HGQ_VENV)/bin/pytest tests/hgq $(PYTEST_OPTIONS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# mypy does not know package-dir: it sees the packages through symbolic links.
typecheck: $(STAMP)
	@rm -rf .typecheck && mkdir -p .typecheck/samebits
	@cd .typecheck/samebits && ln -s ../../samebits/* . && ln -s $(MAPPED:%=../../%) .
	@cd .typecheck && $(abspath $(BIN))/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache samebits

bench: $(STAMP)
	$(BIN)/python benchmarks/speed.py $(BENCH_OPTIONS)

# The source distribution first, then the wheel from it, so that both are complete.
wheel: $(STAMP)
	@$(BIN)/pyproject-build --no-isolation --outdir dist .

lock: $(STAMP)
	@test -x $(BUILD)/lock-env/bin/uv || { \
		$(BIN)/python -m venv $(BUILD)/lock-env && $(BUILD)/lock-env/bin/pip install --quiet uv; }
	@$(BUILD)/lock-env/bin/uv pip compile --quiet $(LOCK_OPTIONS) \
		--universal --python-version 3.11 --fork-strategy fewest \
		--extra train --extra rtl --extra synth --extra hep --extra cxx --extra dev --group lock \
		--no-emit-index-url --no-emit-package pyparser --no-emit-package parse \
		--annotation-style line --custom-compile-command "make lock" \
		--output-file $(LOCK) pyproject.toml
	@$(BUILD)/lock-env/bin/uv pip compile --quiet $(LOCK_OPTIONS) \
		--universal --python-version 3.11 --fork-strategy fewest \
		--extra hgq --extra da --extra dev --group lock-hgq \
		--no-emit-index-url \
		--annotation-style line --custom-compile-command "make lock" \
		--output-file $(HGQ_LOCK) pyproject.toml
	@echo "$(LOCK): $$(grep -c '==' $(LOCK)) packages, $(HGQ_LOCK): $$(grep -c '==' $(HGQ_LOCK))"

# Versions come from the lock file alone. The compiler from PyPI is 400 MB and is left out where
# the machine has one.
$(STAMP): $(LOCK) pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "samebits needs Python 3.11, 3.12 or 3.13, and none was found on PATH;"; \
		echo "install one, or name it: make PYTHON=/path/to/python3.11 ..."; exit 1; fi
	@"$(PYTHON)" -c '$(SUPPORTED)' || { \
		echo "samebits needs Python 3.11, 3.12 or 3.13; $(PYTHON) is" \
			"$$("$(PYTHON)" --version 2>&1)"; exit 1; }
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv $(VENV) || { \
		echo "no environment could be made in $(VENV); Debian and Ubuntu keep the module venv in a"; \
		echo "package of its own: apt install python3-venv"; exit 1; }
	@if command -v "$${CXX:-g++}" >/dev/null || command -v clang++ >/dev/null \
			|| command -v c++ >/dev/null; then \
		grep -v '^ziglang==' $(LOCK) > $(VENV)/requirements.txt; \
	else cp $(LOCK) $(VENV)/requirements.txt; fi
	@echo "installing $$(grep -c '==' $(VENV)/requirements.txt) packages into $(VENV)" \
		"(2.5 GB, a few minutes the first time; log: $(LOG))"
	@{ $(BIN)/pip install --no-input --no-deps -r $(VENV)/requirements.txt \
		&& $(BIN)/pip install --no-input --no-deps --no-build-isolation --editable .; \
	} > $(LOG) 2>&1 || { tail -n 25 $(LOG); \
		echo "the installation failed; the whole log: $(LOG)"; exit 1; }
	@touch $@

$(HGQ_STAMP): $(HGQ_LOCK) pyproject.toml | $(STAMP)
	@test -x $(HGQ_VENV)/bin/pip || $(BIN)/python -m venv $(HGQ_VENV)
	@echo "installing $$(grep -c '==' $(HGQ_LOCK)) packages into $(HGQ_VENV) (1.2 GB;" \
		"log: $(HGQ_VENV)/install.log)"
	@{ $(HGQ_VENV)/bin/pip install --no-input --no-deps -r $(HGQ_LOCK) \
		&& $(HGQ_VENV)/bin/pip install --no-input --no-deps --no-build-isolation --editable .; \
	} > $(HGQ_VENV)/install.log 2>&1 || { tail -n 25 $(HGQ_VENV)/install.log; \
		echo "the installation failed; the whole log: $(HGQ_VENV)/install.log"; exit 1; }
	@touch $@

clean:
	rm -rf $(BUILD) dist samebits.egg-info .typecheck .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./$(VENV) -prune -o -path ./$(HGQ_VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(HGQ_VENV)
