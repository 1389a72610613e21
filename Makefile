# Everything a reader or a contributor types. `make` alone lists it.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)# in a container one is root, and Jupyter asks to be told
NET = -p tests.notebooks.nbval_tolerance -p tests.notebooks.nbval_budget --nbval-lax --nbval-current-env --nbval-cell-timeout=1200 \
      --nbval-sanitize-with tests/notebooks/sanitize.cfg

.PHONY: help lab run claims test lint unit notebooks bench mutants badges students colab site live dist clean

help:  ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages (a few minutes, once)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

lab: $(VENV)/.installed  ## open the course in JupyterLab
	@$(RUN) -m tokalign_helpers fetch
	@$(RUN) -m jupyter lab $(AS_ROOT) notebooks/00_start_here.ipynb

run: $(VENV)/.installed  ## run every notebook without a browser; WRITE=1 stores the outputs, ONLY=01 takes one
	@$(RUN) -m tools.run $(if $(WRITE),--write) $(if $(ONLY),--only $(ONLY))
	@$(if $(WRITE),$(RUN) -m tools.ledger --write)

claims: $(VENV)/.installed  ## fill the ledger of the paper's claims from the notebooks' stored outputs
	@$(RUN) -m tools.ledger --write

test: lint unit notebooks  ## run all checks

lint: $(VENV)/.installed  ## style of the code
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

unit: $(VENV)/.installed  ## tests of the package and of the notebooks' net
	@$(RUN) -m tokalign_helpers fetch
	@$(RUN) -m pytest -q

notebooks: $(VENV)/.installed  ## run the notebooks and compare what they print with what is stored
	@$(RUN) -m tokalign_helpers fetch
	@$(RUN) -m pytest -q $(NET) notebooks

bench: $(VENV)/.installed  ## speed and memory against their targets
	@$(RUN) -m tests.bench.run $(ONLY)

mutants: $(VENV)/.installed  ## break every public helper once and list what no test notices; ONLY=sparse takes some
	@$(RUN) -m tools.mutants $(if $(ONLY),--only $(ONLY))

badges: $(VENV)/.installed  ## write the repository's address and the version into badges and set-up cells
	@$(RUN) -m tools.badges

students: $(VENV)/.installed  ## make the students' and the solutions' versions in build, and grade the solutions
	@$(RUN) -m tools.versions build
	@$(RUN) -m tokalign_helpers.exercises grade build/solutions/*.ipynb

.venv-colab/.installed: tools/colab.txt
	@test -x .venv-colab/bin/python || $(PYTHON) -m venv .venv-colab
	@.venv-colab/bin/python -m pip install --quiet --disable-pip-version-check -r tools/colab.txt
	@touch $@

colab: .venv-colab/.installed  ## run the notebooks with Colab's versions and a stand-in for its module
	@.venv-colab/bin/python -m tools.colab $(if $(ONLY),--only $(ONLY))

.venv-site/.installed: docs/site/requirements.txt
	@test -x .venv-site/bin/python || $(PYTHON) -m venv .venv-site
	@.venv-site/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

site: .venv-site/.installed  ## build the pages of the course in build/site, from the stored outputs
	@.venv-site/bin/python docs/site/build.py build/site

live: $(VENV)/.installed  ## serve the page where one types a sentence and sees its tokens; PORT=8001 moves it
	@$(RUN) docs/site/live.py build/site/live --serve

dist: $(VENV)/.installed  ## build the sdist and the wheel in dist, install the wheel in an empty venv, try it
	@$(RUN) -m tools.dist dist

clean:  ## remove the virtual environment and what tools leave behind
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
