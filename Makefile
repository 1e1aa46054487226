# The two commands: `make demo` and `make test`. Both set up everything they need in .venv.
# `make long` runs the longest tests, which `make test` leaves out; CI runs both.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test long lint types imports docs unit checked bench clean

demo: $(READY)
	$(BIN)/maskmill demo

test: $(READY)
	$(MAKE) --no-print-directory --output-sync=target --jobs 2 lint imports types docs
	$(MAKE) --no-print-directory unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -q docs build/docs

PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

unit: $(READY)
	$(PYTEST) -m "not long"

long: $(READY)
	$(PYTEST) -m long

# Every test once more with numba's bounds checked and freed memory overwritten: slower, for changes of kernels and readers.
# What is compiled with checks is kept apart, and compiled first, as at set-up.
CHECKED := MALLOC_PERTURB_=165 NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/build/checked
checked: $(READY)
	$(CHECKED) $(BIN)/python infra/compile_kernels.py
	$(CHECKED) $(PYTEST) --timeout 1200 --ignore tests/loader/test_kernels.py

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[prepare,fast,cjk,filters,train,docs,dev]'
	$(BIN)/python infra/compile_kernels.py
	touch $(READY)

clean:
	rm -rf $(VENV) demo-out build *.egg-info
