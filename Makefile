# What people do with cbviz. Needs Python 3.11 or newer, pip and make; `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TYPESCRIPT := 5.9.3
WABT := 1.0.39

.DEFAULT_GOAL := help
.PHONY: help venv race lab docs page quick test lint types javascript kernel pure unit notebooks

# Tests that load no model and open no browser; test_policies_state races the built-in one.
PURE := $(filter-out tests/test_policies_state.py,$(wildcard $(addprefix tests/,test_board_pack.py test_chinese.py test_course_words.py test_docstrings.py \
  test_engine_schedules.py test_engine_trouble.py test_figures.py test_house.py test_measure_*.py test_memory_*.py \
  test_policies_*.py test_trace_*.py test_workload_*.py)))

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

race: $(INSTALLED) ## Race static against continuous batching on the built-in model; writes race.html
	$(BIN)/cbviz race --html race.html

lab: $(INSTALLED) ## Copy the course into cbviz-course, and open JupyterLab on its first notebook
	$(BIN)/cbviz lab

docs: $(INSTALLED) ## The site (course, API, design, benchmarks) into site/; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

page: $(INSTALLED) ## The race in one page that needs no install, into build/page; npm fetches its Python once
	$(BIN)/python tools/build_page.py

quick: lint types javascript pure ## Style, types and the tests without a model: under two minutes, for every change

test: lint types javascript unit notebooks ## Everything that CI runs

venv: $(INSTALLED) ## Make the virtual environment .venv and install cbviz in it

# Made once, and again whenever what has to be installed changes.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "cbviz needs Python 3.11 or newer, and $(PYTHON) is older: try `make PYTHON=python3.12 $(MAKECMDGOALS)`.")'
	@echo "Making $(VENV) and installing cbviz there: minutes the first time, because PyTorch is large."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

lint: $(INSTALLED) ## Style: ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## Types: mypy, strict
	$(BIN)/mypy

javascript: ## The widget's JavaScript, tested with node, and its types checked with TypeScript
	@if command -v node >/dev/null; then node --test tests/js/*.test.mjs tests/web/*.test.mjs; \
	elif [ -n "$$CI" ]; then echo 'node is not installed, and CI must run the JavaScript tests.' >&2; exit 1; \
	else echo 'Left out: tests/js (node is not installed).'; fi
	@if command -v npx >/dev/null; then npx --yes --loglevel=error --package=typescript@$(TYPESCRIPT) -- tsc --project tsconfig.json; \
	elif [ -n "$$CI" ]; then echo 'npx is not installed (it comes with npm), and CI must check the JavaScript types.' >&2; exit 1; \
	else echo 'Left out: the types of the JavaScript (npx is not installed; it comes with npm).'; fi
	@if command -v npx >/dev/null; then $(MAKE) --no-print-directory kernel OUT=build/matmul.wasm && \
	  { cmp build/matmul.wasm $(KERNEL).wasm || { echo '$(KERNEL).wasm is not what $(KERNEL).wat gives: run `make kernel`.' >&2; exit 1; }; }; \
	elif [ -n "$$CI" ]; then echo 'npx is not installed, and CI must build the kernel of the page.' >&2; exit 1; \
	else echo 'Left out: a fresh build of the kernel of the page (npx is not installed).'; fi

KERNEL := web/executor/matmul
OUT := $(KERNEL).wasm

kernel: ## The matrix kernel of the page, from its text: web/executor/matmul.wasm
	@mkdir -p $(dir $(OUT))
	npx --yes --loglevel=error --package=wabt@$(WABT) -- wat2wasm $(KERNEL).wat --output=$(OUT)

pure: $(INSTALLED) ## The tests that load no model and open no browser
	$(BIN)/pytest $(PURE) -m 'not download' --quiet --numprocesses=auto --maxprocesses=4 --dist=loadfile

unit: $(INSTALLED) ## Everything in Python, and the browser tests where Chromium is installed
	$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

notebooks: $(INSTALLED) ## Every cell of every notebook gives what its saved output says
	$(BIN)/pytest notebooks -p no:cacheprovider --nbval --nbval-current-env --nbval-cell-timeout=600 --timeout=800 \
	  --nbval-kernel-startup-timeout=180 --nbval-sanitize-with tests/nbval_sanitize.cfg
