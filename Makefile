# `make book` and `make test` do everything from a fresh clone; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
METHODS := dense loss_gated plateau
SEEDS := 0 1 2
export PYTHONWARNINGS := ignore::DeprecationWarning

.PHONY: help book pages test lint types unit notebooks-check record readme clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/' | expand -t 24

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: $(PYTHON) was not found"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, this is {v.major}.{v.minor}")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

env: $(READY)  ## make the environment in .venv from requirements.lock

book: $(READY)  ## train dense and both strategies on this machine, then build the book with them in it
	@mkdir -p book/your-runs
	@for method in $(METHODS); do \
		echo "training $$method (quick preset, embedded images)"; \
		$(BIN)/papermill --no-progress-bar --log-level WARNING --stderr-file /dev/stderr --stdout-file /dev/stdout \
			notebooks/run.ipynb book/your-runs/$$method.ipynb \
			-p preset quick -p method $$method -p seed 0 -p output_dir runs || exit 1; \
	done
	@$(MAKE) --no-print-directory pages
	@echo "The book, with your runs in it: open _build/html/index.html"

pages: $(READY)  ## build the book from what is there, warnings are errors
	$(BIN)/python book/table_of_contents.py
	$(BIN)/jupyter-book build . --all -n -W --keep-going --toc _build/_toc.yml --quiet

test: lint types unit notebooks-check pages browser  ## everything that must hold: ruff, mypy, pytest, nbval, the book
