# `make book` and `make test` do everything from a fresh clone; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
METHODS := dense loss_gated plateau
STUDY ?= smoke
SHELL := /bin/bash
# glibc gives large blocks back and gets them anew each step: half of the time of a fully connected network.
KEEP_MEMORY := MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=10000000000
# Beside the wheels of `make class-kit` nothing is fetched.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(wildcard wheels),--no-index --find-links wheels)
JUPYTERLAB := $(BIN)/python -c 'import jupyterlab' 2>/dev/null || $(PIP) -c requirements.lock jupyterlab
PAPERMILL := $(BIN)/papermill --no-progress-bar --log-level ERROR notebooks/run.ipynb

.PHONY: help env book pages class class-teacher class-times class-kit pdf test lint types unit unit-then-notebooks notebooks pages-check bench study paper measure record set-search readme outputs links audit clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/' | expand -t 20

env: $(READY)  ## make the environment in .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"this is Python {v[0]}.{v[1]}: Python 3.11 or newer is needed")'
	@echo "making the environment in .venv (once, some minutes)"
	@$(PYTHON) -m venv .venv
	@$(PIP) --no-compile -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # with every core; pip has one, and skips old Pythons' files too
	@$(PIP) --no-deps -e .
	@touch $@

book: $(READY)  ## train dense and both strategies on this machine, then build the book with these runs in it
	@mkdir -p book/your-runs
	@for method in $(METHODS); do \
		$(PAPERMILL) book/your-runs/$$method.ipynb --stderr-file >(cat >&2) \
			-p preset quick -p method $$method -p seed 0 -p output_dir runs || exit 1; \
	done
	@$(BIN)/sparsecycle compare runs --no-claims
	@$(MAKE) --no-print-directory pages
	@echo "The book, with your runs in it: open _build/html/index.html in a browser"

pages: $(READY)  ## build the book from what is there; a warning or a failing notebook fails it
	@echo "building the book (every chapter is executed)"
	@$(BIN)/python book/table_of_contents.py
	@$(BIN)/python course/make_forms.py
	@$(BIN)/python book/browser_libraries.py
	@$(BIN)/jupyter-book build . --all -n -W --keep-going --toc _build/_toc.yml --quiet
	@$(BIN)/python course/make_slides.py

class: $(READY)  ## the lessons with gaps, for students, in JupyterLab; what you write into my-class stays there
	@$(JUPYTERLAB)
	@$(BIN)/python course/open_class.py student my-class
	@$(BIN)/jupyter lab my-class

class-teacher: $(READY)  ## the same with solutions, for teachers, in my-class-teacher
	@$(JUPYTERLAB)
	@$(BIN)/python course/open_class.py teacher my-class-teacher
	@$(BIN)/jupyter lab my-class-teacher

class-times: $(READY)  ## how long the slowest cell of each lesson takes on this machine
	@$(BIN)/python course/slowest_cells.py

class-kit: $(READY)  ## for laptops without a network: a folder with the checkout, all that `make class` needs, and the book if it is built
	@$(BIN)/python course/make_kit.py

pdf: $(READY)  ## the built book as one PDF, in _build/html
	@$(BIN)/python book/browser.py
	@$(BIN)/python book/pdf.py

test: lint types  ## all that must hold: ruff, mypy, pytest, nbval, the book
	@OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j 2 unit-then-notebooks pages  # two cores have no threads to spare
	@$(MAKE) --no-print-directory pages-check

unit-then-notebooks: unit
	@$(MAKE) --no-print-directory notebooks

lint: $(READY)  ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	@$(BIN)/mypy

unit: $(READY)  ## pytest, two processes; Triton's interpreter stands in for a GPU
	@$(BIN)/python -c 'import triton' 2>/dev/null \
		|| $(PIP) 'triton>=3.6,<4' \
		|| echo "Triton cannot be installed here: its tests are skipped"
	@$(BIN)/pytest -n 2 --dist loadfile --ignore tests/test_pages.py --ignore tests/test_browser.py

notebooks: $(READY)  ## nbval: execute the chapters and compare the outputs marked for it
	@$(BIN)/pytest -n 2 --dist loadscope --nbval-lax --nbval-current-env --nbval-cell-timeout 300 \
		notebooks --ignore notebooks/run.ipynb --ignore notebooks/set.ipynb

pages-check: $(READY)  ## check the built pages: links, pictures, numbers, outputs, and each page in a browser
	@$(BIN)/python book/browser.py
	@$(BIN)/pytest -n 2 --dist worksteal tests/test_browser.py tests/test_pages.py

study: $(READY)  ## the runs of a study of workflow/grid.yaml that are missing; MINUTES=50 stops then, SIDE=4 shares a GPU
	@$(if $(MINUTES),timeout $(MINUTES)m) $(BIN)/snakemake --snakefile workflow/Snakefile \
		--profile workflow/profiles/local --quiet all \
		--config study=$(STUDY) $(if $(SIDE),gpu_percent=$$((100 / $(SIDE)))); \
	status=$$?; $(BIN)/sparsecycle grid $(STUDY); [ $$status = 124 ] || exit $$status  # 124: the minutes are over

paper: $(READY)  ## the replication itself, on a GPU: the runs that are missing; MINUTES=50 stops then, SIDE=4 at a time
	@$(BIN)/sparsecycle data fetch cifar10
	@$(MAKE) --no-print-directory study STUDY=paper SIDE=$(or $(SIDE),4)

bench: $(READY)  ## measure what the method costs on this machine (minutes); two records in data/benchmarks
	@$(BIN)/python -m sparsecycle_book.benchmarks
	@$(BIN)/python -m sparsecycle_book.benchmarks.set_mlp

measure: $(READY)  ## measure the finished runs in runs/: compressed, disturbed, layer by layer (half a minute each)
	@$(BIN)/sparsecycle measure runs

record: $(READY)  ## for maintainers: make the runs of the book that are missing in data/runs (hours), and measure them
	@for seed in 0 1 2; do for method in $(METHODS) geometric; do \
		[ -f data/runs/quick/$$method-seed$$seed/record.json ] || $(PAPERMILL) book/runs/$$method-seed$$seed.ipynb --stderr-file >(cat >&2) \
			-p preset quick -p method $$method -p seed $$seed -p output_dir data/runs || exit 1; \
	done; done
	@rm -f book/runs/*-seed[1-9].ipynb
	@for study in classroom ablation; do \
		$(BIN)/sparsecycle grid $$study --output-dir data/runs --commands | sed 's/$$/ --no-progress/' \
			| OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 xargs -r -d '\n' -P 2 -n 1 sh -c || exit 1; \
	done
	@$(BIN)/sparsecycle measure data/runs/classroom
	@mkdir -p data/checkpoints/classroom
	@for method in $(METHODS); do \
		cp data/runs/classroom/$$method-seed0/model.safetensors data/checkpoints/classroom/$$method-seed0.safetensors; \
		$(PAPERMILL) book/runs/classroom-$$method-seed0.ipynb \
			-p preset classroom -p method $$method -p seed 0 -p output_dir data/runs || exit 1; \
	done
	@for study in study ablation; do \
		$(KEEP_MEMORY) $(BIN)/sparsecycle set study $$study --output-dir data/runs --jobs 2 || exit 1; \
	done
	@$(MAKE) --no-print-directory outputs readme

set-search: $(READY)  ## for maintainers: the search for the companion's constants (an hour), in data/search
	@$(KEEP_MEMORY) $(BIN)/sparsecycle set study search --output-dir data/search --jobs 2

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
