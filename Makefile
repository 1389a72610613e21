# Everything a reader or a contributor types. `make` alone lists it.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
NET = -p tests.notebooks.nbval_tolerance -p tests.notebooks.nbval_budget --nbval-lax --nbval-current-env --nbval-cell-timeout=1200 \
      --nbval-sanitize-with tests/notebooks/sanitize.cfg

.PHONY: help FORCE lab run reproduce claims test quick lint unit notebooks bench mutants badges students colab site live dist pins lock clean

help:  ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: FORCE  # it finds out by itself whether there is anything to do, or to repair
	@$(PYTHON) tools/install.py --venv $(VENV)
FORCE:

lab: $(VENV)/.installed  ## open the course in JupyterLab, as copies to work in, in the folder work
	@$(RUN) -m tools.lab

run: $(VENV)/.installed  ## run every notebook without a browser; WRITE=1 stores the outputs, ONLY=01 takes one
	@$(RUN) -m tools.run $(if $(WRITE),--write) $(if $(ONLY),--only $(ONLY))
	@$(if $(WRITE),$(RUN) -m tools.ledger --write)

reproduce: $(VENV)/.installed  ## the paper's eight on a GPU; RESULTS=folder, DATA=folder of its texts, ONLY=gritlm takes one
	@$(RUN) -m tokalign_helpers reproduce --results $(or $(RESULTS),build/reproduction) $(if $(DATA),--data $(DATA)) \
	  $(if $(ONLY),--only $(ONLY))

claims: $(VENV)/.installed  ## fill the ledger of the paper's claims from the notebooks' stored outputs
	@$(RUN) -m tools.ledger --write

test: lint unit notebooks  ## run all checks

quick: lint  ## the checks for between two edits: style, and the tests that are not slow
	@$(RUN) -m tokalign_helpers fetch
	@$(RUN) -m pytest -q -m "not slow"

lint: $(VENV)/.installed  ## style and types of the code
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

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

badges: $(VENV)/.installed  ## let the notebooks install REPO=owner/name at commit REF on Colab; without REPO, nothing
	@$(RUN) -m tools.badges $(if $(REPO),--repo '$(REPO)') $(if $(REF),--commit '$(REF)')

students: $(VENV)/.installed  ## make the students' and the solutions' versions in build, and grade the solutions
	@$(RUN) -m tools.versions build
	@$(RUN) -m tokalign_helpers.exercises grade build/solutions/*.ipynb

.venv-colab/.installed: tools/colab_has.txt
	@test -x .venv-colab/bin/python || $(PYTHON) -m venv .venv-colab
	@.venv-colab/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r tools/colab_has.txt
	@.venv-colab/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@touch $@

colab: .venv-colab/.installed  ## run the notebooks with Colab's versions and a stand-in for its module
	@.venv-colab/bin/python -m tools.colab $(if $(ONLY),--only $(ONLY))

.venv-site/.installed: docs/site/requirements.txt
	@test -x .venv-site/bin/python || $(PYTHON) -m venv .venv-site
	@.venv-site/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

site: .venv-site/.installed  ## build the pages of the course in build/site; SOLUTIONS=0 leaves the answers out
	@.venv-site/bin/python docs/site/build.py build/site $(if $(filter 0,$(SOLUTIONS)),--without-solutions)

live: $(VENV)/.installed  ## serve the page where one types a sentence and sees its tokens; PORT=8001 moves it
	@$(RUN) docs/site/live.py build/site/live --serve

dist: $(VENV)/.installed  ## build the sdist and the wheel in dist, install the wheel in an empty venv, try it
	@$(RUN) -m tools.dist dist

# Versions that a file has stay; UPGRADE=--upgrade takes the newest. What Colab lacks has the versions of the lock.
UV = uv pip compile $(UPGRADE) --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
     --custom-compile-command "make pins"
pins:  ## renew the hashes of what runs on Colab and of what builds the pages; needs uv
	@printf 'bm25s\ngguf\nmwparserfromhell\n' | \
	  $(UV) --no-deps --constraint requirements.lock - -o tokalign_helpers/course/colab_lacks.txt
	@echo torch | $(UV) --excludes - tools/colab_has.in -o tools/colab_has.txt
	@$(UV) docs/site/requirements.in -o docs/site/requirements.txt

lock: $(VENV)/.installed  ## resolve the locks again, for all platforms, after a change in pyproject.toml
	@$(RUN) -m pip install --quiet --disable-pip-version-check uv
	@$(RUN) -m tools.lock

clean:  ## remove the virtual environment and what tools leave behind
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
