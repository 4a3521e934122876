# `make demo` and `make test` set everything up on a machine with Python and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help setup demo test lint clean

help: ## say what there is to make
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(INSTALLED) ## create .venv with everything in it (PYTHON=python3.12 chooses the Python)

demo: setup ## segment a synthetic drive, or VIDEO=file, or BAG=folder [TOPIC=name]; see out/demo
	$(BIN)/sdcpc demo --out out/demo $(if $(VIDEO),--video '$(VIDEO)') $(if $(BAG),--bag '$(BAG)') $(if $(TOPIC),--topic '$(TOPIC)')

test: lint ## check style, the direction of imports, and every test
	$(BIN)/pytest

lint: setup ## the first two of these alone
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

clean: ## remove .venv and everything built, tested or run
	rm -rf $(VENV) build dist install log out runs *.egg-info .coverage .hypothesis .*_cache

$(INSTALLED): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Needs Python 3.10 or newer; choose one: make PYTHON=python3.12" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	else $(PYTHON) -m virtualenv $(VENV) 2>/dev/null; fi || \
		{ echo "Cannot create a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --constraint constraints.txt --editable '.[train,report,video,bag,ros,benchmark,dev]'
	touch $@
