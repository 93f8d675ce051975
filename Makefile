# `make reproduce` needs only Python 3.10-3.13, make and git; `make help` lists the rest.

VENV ?= .venv
PROFILE ?= tiny
# Python 3.11 comes first because it is what the suite is tested on; any of these will do.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.10 python3 python; do \
	"$$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
	>/dev/null 2>&1 && { echo "$$name"; break; }; done)

# Spinning OpenMP threads are many times slower beside a busy neighbour.
export OMP_WAIT_POLICY ?= passive
export TOKENIZERS_PARALLELISM ?= false
# The hub is not asked for anything at the profiles whose text and encoders are local.
OFFLINE := $(if $(filter base paper,$(PROFILE)),,HF_HUB_OFFLINE=1)
# Test files are given to two processes, the longest first (tests/conftest.py): one learns at tiny, the other does the rest.
WORKERS ?= 2
# Notebooks at a time: one more than two cores, since one may wait for what another trains.
JOBS ?= 3
INSTALLED := $(VENV)/.installed
RUN := $(VENV)/bin
# No progress bars where nobody watches.
QUIET := $(if $(CI),--quiet --progress-bar off,--quiet)

.PHONY: help reproduce environment data notebooks program figures benchmarks test faults lint format lab refresh colab \
	book browser lock audit clean
.DEFAULT_GOAL := help

help:
	@echo "make reproduce  set up .venv, fetch the text, run every notebook at PROFILE=$(PROFILE), write report/"
	@echo "make test       every test: unit, faults, tiny training, notebooks"
	@echo "make faults     kill, damage, starve and crowd everything, and renew data/faults; about an hour"
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make lint       ruff and mypy        make format   let ruff mend what it can"
	@echo "make figures    draw the paper's and the audit's figures and tables, from data/ alone"
	@echo "make benchmarks measure speed and memory against two peers; an hour on an idle machine"
	@echo "make refresh    run the notebooks in place, clean their outputs, redraw figures, renew notebooks/README.md"
	@echo "make program    collect nano_colbert.py from the notebooks"
	@echo "make colab      stamp the notebooks with the repository's address, or a new one: REPOSITORY=https://..."
	@echo "make book       build the site from the committed outputs and check it: report/book"
	@echo "make browser    run notebooks in JupyterLab under Chromium, move their widgets; pictures in report/browser; minutes"
	@echo "make lock       resolve requirements.lock and requirements-book.lock anew from pyproject.toml"
	@echo "make audit      look up known vulnerabilities of what requirements.lock pins; needs the network"
	@echo "make clean      remove what make made; trained runs and fetched text in .colbert_zero stay"

reproduce: notebooks
	@echo
	@echo "Done. Open report/index.html (or report/index.md): verdicts first, then the figures."
	@echo "Executed notebooks: report/notebooks/   trained runs: $(RUN)/colbert-zero list"

environment: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.10 to 3.13 with venv was found: install one or pass PYTHON=/path/to/it." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || { echo "$(PYTHON) is not Python 3.10 to 3.13: pass another PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import platform, sys; p = (sys.platform, platform.machine()); sys.exit(p not in (("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64")))' || { echo "PyLate 1.6 has no build for this platform: use Linux on x86-64 or macOS on Apple silicon." >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version): a few minutes and about 6 GB, once"
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	@$(RUN)/python -m pip install $(QUIET) --disable-pip-version-check --require-hashes -r requirements.lock
	@$(RUN)/python -m pip install $(QUIET) --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

data: $(INSTALLED)
	@$(RUN)/colbert-zero data fetch $(if $(CI),--quiet)

notebooks: data
	@$(OFFLINE) $(RUN)/colbert-zero notebooks --profile $(PROFILE) --jobs $(JOBS)

figures: $(INSTALLED)
	@$(RUN)/colbert-zero figures

benchmarks: data
	@HF_HUB_OFFLINE=1 $(RUN)/python -m benchmarks

# A core each: with two threads each they would mostly wait for each other.
test: data
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(OFFLINE) $(RUN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 12

faults: data
	@$(RUN)/python -m tests.faults

lab: $(INSTALLED)
	@$(RUN)/jupyter lab notebooks

lint: $(INSTALLED)
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy

format: $(INSTALLED)
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .

program: $(INSTALLED)
	@$(RUN)/colbert-zero program

refresh: data program
	@$(OFFLINE) $(RUN)/colbert-zero notebooks --refresh
	@$(RUN)/colbert-zero figures
	@$(RUN)/colbert-zero crosswalk

# In an environment of its own too, which needs no torch. SCREENS=folder leaves pictures of some pages there.
book: $(VENV)-book/.installed
	@$(VENV)-book/bin/python -m book.pages build/book
	@$(VENV)-book/bin/python -m sphinx -q -W --keep-going -d build/book/doctrees -c book build/book/source report/book
	@$(VENV)-book/bin/python -m book.crawl report/book $(SCREENS)
	@echo "Open report/book/index.html."

# Of the site's environment Playwright alone. NOTEBOOKS="03 04" runs others, SCREENS=folder leaves the pictures there.
browser: data $(VENV)-book/.installed
	@$(VENV)-book/bin/python -m tests.browser $(RUN)/jupyter $(or $(SCREENS),report/browser) $(or $(NOTEBOOKS),01 06 09)
	@echo "Every cell ran, every widget answered, and no traceback is shown: look at $(or $(SCREENS),report/browser)."

$(VENV)-book/.installed: requirements-book.lock
	@test -x $(VENV)-book/bin/python || $(PYTHON) -m venv $(VENV)-book
	@$(VENV)-book/bin/python -m pip install $(QUIET) --disable-pip-version-check --require-hashes -r requirements-book.lock
	@touch $@

colab: $(INSTALLED)
	@$(RUN)/colbert-zero stamp $(REPOSITORY)

LOCK := uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-python-downloads --no-emit-index-url \
	--no-emit-find-links --no-annotate --custom-compile-command "make lock"

lock: $(INSTALLED)
	@$(RUN)/python -m pip install $(QUIET) --disable-pip-version-check uv
	@$(RUN)/$(LOCK) --extra dev pyproject.toml --output-file requirements.lock
	@$(RUN)/$(LOCK) --group book --output-file requirements-book.lock

# In an environment of its own, so that the pinned one stays as it is.
audit:
	@test -x $(VENV)-audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)-audit && $(VENV)-audit/bin/python -m pip install \
		$(QUIET) --disable-pip-version-check pip-audit; } || \
		{ echo "pip-audit could not be installed: connect to a package index and run make audit again." >&2; exit 1; }
	@$(VENV)-audit/bin/pip-audit --require-hashes --disable-pip --progress-spinner off -r requirements.lock \
		>$(VENV)-audit/said.txt 2>&1; code=$$?; if grep -qE "could not be audited|Error|HTTPS?Connection" $(VENV)-audit/said.txt; \
		then echo "PyPI's list of known vulnerabilities could not be reached for all that is pinned: run make audit where it can." \
		>&2; exit 1; fi; cat $(VENV)-audit/said.txt; exit $$code

clean:
	rm -rf $(VENV) $(VENV)-audit $(VENV)-book report build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
