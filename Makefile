# `make book` and `make test` do everything from a fresh clone; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
METHODS := dense accuracy_gated epoch_gated
TRITON := 3.9.0 # for its interpreter; not in the lock, because torch for a GPU brings a version of its own
STUDY ?= smoke
JOBS ?= auto
SHELL := /bin/bash
# What the user has set up for matplotlib and IPython stays out of our figures and cells.
export MPLCONFIGDIR := $(CURDIR)/_build/profile/matplotlib
export IPYTHONDIR := $(CURDIR)/_build/profile/ipython
unexport MATPLOTLIBRC PYTHONSTARTUP
$(shell mkdir -p _build/profile/matplotlib _build/profile/ipython)
# Two runs with one thread each use two cores better than one run after the other with two.
ONE_THREAD := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
JUPYTERLAB := $(BIN)/python -c 'import jupyterlab' 2>/dev/null || $(PIP) -c requirements.lock jupyterlab
PAPERMILL := $(BIN)/papermill --no-progress-bar --log-level ERROR notebooks/run.ipynb

.PHONY: help env book pages class class-teacher pdf test quick lint types unit notebooks pages-check \
	bench study paper100 paper record readme outputs links audit clean

help:  ## list the targets
	@grep -hE '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9 -]+):[^#]*## (.*)/make \1\t\2/' | expand -t 20

env: $(READY)  ## make the environment in .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"this is Python {v[0]}.{v[1]}: Python 3.11 or newer is needed")'
	@echo "making the environment in .venv (once, some minutes)"
	@$(PYTHON) -m venv .venv
	@$(PIP) --no-compile -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests/' .venv/lib || true  # with every core; pip has one, and skips old Pythons' files too
	@$(PIP) --no-deps -e .
	@touch $@

book: $(READY)  ## train dense and both strategies on this machine, then build the book with these runs in it
	@mkdir -p book/your-runs
	@paste <(printf '%s\n' $(METHODS)) <(printf '%s\n' 0 1 0) | $(ONE_THREAD) xargs -P 2 -L 1 bash -c \
		'TQDM_POSITION=$$1 $(PAPERMILL) book/your-runs/$$0.ipynb --stderr-file /dev/fd/3 \
		-p preset quick -p method $$0 -p seed 0 -p output_dir runs' 3> >(cat >&2)  # each bar on a line of its own
	@$(BIN)/sparsecycle compare runs --no-claims
	@$(MAKE) --no-print-directory pages
	@echo "The book, with your runs in it: open _build/html/index.html in a browser"

pages: $(READY)  ## build the book from what is there; a warning or a failing notebook fails it
	@echo "building the book (every chapter is executed)"
	@$(BIN)/python book/table_of_contents.py
	@$(BIN)/python course/make_forms.py
	@$(BIN)/python book/browser_libraries.py
	@$(BIN)/jupyter-book build . --all -n -W --keep-going --toc _build/_toc.yml --quiet
	@$(BIN)/python course/make_handouts.py

class: $(READY)  ## the lessons with gaps, for students, in JupyterLab; what you write into my-class stays there
	@$(JUPYTERLAB)
	@$(BIN)/python course/make_forms.py student my-class
	@$(BIN)/jupyter lab my-class

class-teacher: $(READY)  ## the same with solutions, for teachers, in my-class-teacher
	@$(JUPYTERLAB)
	@$(BIN)/python course/make_forms.py teacher my-class-teacher
	@$(BIN)/jupyter lab my-class-teacher

pdf: $(READY)  ## the built book as one PDF, in _build/html
	@$(BIN)/python book/browser.py
	@$(BIN)/python book/pdf.py

test: lint types  ## all that must hold: ruff, import order, mypy, pytest, nbval, the book
	@$(ONE_THREAD) $(MAKE) --no-print-directory -j 2 unit pages  # two cores have no threads to spare
	@$(MAKE) --no-print-directory pages-check

quick: $(READY)  ## the tests of the method itself, in less than a minute
	@$(ONE_THREAD) $(BIN)/pytest -q -n 2 --dist worksteal -m 'not slow' tests/core

lint: $(READY)  ## ruff: rules and format; import-linter: the order of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache --no-logo

types: $(READY)  ## mypy, strict
	@$(BIN)/mypy

unit: $(READY)  ## pytest without the built book, two processes; Triton's interpreter stands in for a GPU
	@$(BIN)/python -c 'import triton' 2>/dev/null \
		|| $(PIP) triton==$(TRITON) \
		|| echo "Triton cannot be installed here: its tests are skipped"
	@$(BIN)/pytest -n 2 --dist loadfile -m 'not pages and not browser'

notebooks: $(READY)  ## nbval: execute the chapters and compare the outputs marked for it
	@$(BIN)/pytest -n 2 --dist loadscope --nbval-lax --nbval-current-env --nbval-cell-timeout 300 \
		notebooks --ignore notebooks/run.ipynb --ignore notebooks/set.ipynb

pages-check: $(READY)  ## check the built pages: links, pictures, numbers, outputs; each once in a browser, and one of each kind for accessibility
	@$(BIN)/python book/browser.py
	@$(BIN)/pytest -n 2 --dist worksteal -m 'pages or browser' tests/book/test_pages.py tests/book/test_browser.py

study: $(READY)  ## the missing runs of a study of workflow/studies.yaml: STUDY=name JOBS=2; MINUTES=50 stops then
	@$(if $(MINUTES),timeout $(MINUTES)m) $(BIN)/sparsecycle study $(STUDY) --jobs $(JOBS); \
		status=$$?; [ $$status = 124 ] && echo "the minutes are over: the same command goes on" || exit $$status

paper100 paper: $(READY)  ## the replication itself, for 100 or 500 epochs, on a GPU: the runs that are missing
	@$(BIN)/sparsecycle data fetch
	@$(MAKE) --no-print-directory study STUDY=$@

bench: $(READY)  ## measure what the method costs on this machine (minutes); two records in data/benchmarks
	@$(BIN)/python -m sparsecycle_book.benchmarks
	@$(BIN)/python -m sparsecycle_book.benchmarks.set_mlp

record: $(READY)  ## for maintainers, in a clean tree: make the missing smoke and quick runs of the book in data/runs
	@for study in smoke quick; do $(BIN)/sparsecycle study $$study --output-dir data/runs --jobs 2 || exit 1; done
	@for method in $(METHODS); do \
		$(PAPERMILL) book/runs/$$method-seed0.ipynb -p preset quick -p method $$method -p seed 0 -p output_dir data/runs || exit 1; \
	done
	@$(MAKE) --no-print-directory outputs readme

readme: $(READY)  ## write the results in README.md from the records
	@$(BIN)/python -m sparsecycle_book.readme

links: $(READY)  ## for maintainers, with the internet: do the addresses outside of the book answer?
	@$(BIN)/python book/table_of_contents.py
	@sed 's/execute_notebooks: force/execute_notebooks: "off"/' _config.yml > _build/links.yml
	@PYTHONPATH=book $(BIN)/jupyter-book build . --all --quiet --builder linkcheck \
		--config _build/links.yml --toc _build/_toc.yml --path-output _build/links

audit: $(READY)  ## for maintainers, with the internet: known vulnerabilities of the locked versions (pip-audit)
	@$(BIN)/python -c 'import pip_audit' 2>/dev/null \
		|| $(PIP) -c requirements.lock pip-audit
	@$(BIN)/pip-audit --strict --no-deps --disable-pip -r requirements.lock

clean:  ## remove what was built, but no run
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache

outputs: $(READY)  ## for maintainers: execute the chapters and store the outputs that nbval compares
	@$(BIN)/python notebooks/store_outputs.py
