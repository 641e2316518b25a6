# The system's Python, 3.11 or newer; everything is installed into .venv.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# XLA compiles thousands of small programs that run once: its optimiser is most of that time. The
# tests of the project's own specs turn it on again.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
  JAX_DISABLE_MOST_OPTIMIZATIONS=1

.PHONY: demo test trained format clean

demo: $(VENV)/run.stamp
	$(BIN)/python demo/demo.py

# Everything that CI runs.
test: $(VENV)/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(TEST_ENV) $(BIN)/pytest -n $(JOBS) --dist loadgroup

# The figures that the docs state, trained in full: an hour or more. Those on data that
# DLSPEC_DATA names are skipped without it.
trained: $(VENV)/dev.stamp
	$(BIN)/pytest -v tests/trained

format: $(VENV)/dev.stamp
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) build dist

# A stamp is newer than what it was installed from: no second install without a change.
$(VENV)/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[torch,jax,data]'
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[torch,jax,data,dev]'
	touch $@ $(VENV)/run.stamp

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "dlspec needs Python 3.11 or newer" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
