# Every target does its own set-up; a second run starts in seconds.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SUPPLY := build/supply
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: setup demo test verify lint format clean lock licences sbom audit

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/rootshift demo

test: lint
	rm -rf build/compared
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not slow"

verify: lint
	$(BIN)/pytest -n $(JOBS) --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What the project is made from: see SECURITY.md.
lock: $(SUPPLY)
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(SUPPLY)/bin/uv pip compile pyproject.toml --quiet \
	  --all-extras --constraint constraints.txt --python-version 3.11 --universal \
	  --generate-hashes --no-annotate --output-file requirements.lock

licences: $(STAMP)
	mkdir -p build
	$(BIN)/python -m rootshift.testbench.supply.licences > build/licences.md
	mv build/licences.md docs/licences.md

sbom: $(STAMP) $(SUPPLY)
	$(SUPPLY)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
	  --output-reproducible --output-file build/sbom.json

audit: $(SUPPLY)
	$(SUPPLY)/bin/pip-audit --requirement requirements.lock --disable-pip --require-hashes

$(SUPPLY):
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet cyclonedx-bom==7.5.0 pip-audit==2.10.1 uv==0.13.9 || { rm -rf $@; exit 1; }

clean:
	rm -rf build $(VENV) *.egg-info

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python must be 3.11 or newer; name one with: make PYTHON=..." >&2; exit 2; }
	@for tool in g++ make perl; do command -v $$tool >/dev/null \
	  || { echo "$$tool is missing: on Debian or Ubuntu, apt install g++ make perl" >&2; exit 2; }; done
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "the venv module is missing: on Debian or Ubuntu, apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@
