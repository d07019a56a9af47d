# offseg-viz: set-up, tests and notebooks. `make` alone lists the targets.

PYTHON ?= python3
NOTEBOOK ?= notebooks/00_tour.ipynb

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/ready

# The kernel called python3 is the one in .venv, whatever other kernels this user has.
export JUPYTER_PATH := $(CURDIR)/$(VENV)/share/jupyter

.DEFAULT_GOAL := help
.PHONY: help setup lab test notebooks notebooks-browser exercises site constraints clean FORCE

help:
	@echo "make lab        set up, then open JupyterLab at the first notebook (NOTEBOOK=... for another)"
	@echo "make test       set up, then run the unit tests, every notebook against its stored outputs, and every notebook in a browser"
	@echo "make setup      create .venv with everything pinned (PYTHON=python3.12 for another interpreter, 3.11 or newer)"
	@echo "make notebooks  run every notebook again and store its outputs"
	@echo "make notebooks-browser  run every notebook in JupyterLab and a browser, and look for errors"
	@echo "make exercises  make the student versions of the notebooks, notebooks/exercises, from their solutions"
	@echo "make site       build the notebooks, the reference and a page to explore as a static site, build/site"
	@echo "make constraints  write constraints.txt from what .venv holds now"
	@echo "make clean      remove .venv and everything built or cached here"

setup: $(STAMP)
	@echo "Ready: $(VENV) holds the pinned packages."

# The stamp holds the folder it was made in: a copied or moved folder, or one whose Python has gone, is set up again.
ifneq ($(shell test -x $(PY) && cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): FORCE
endif

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Found: $$($(PYTHON) --version 2>/dev/null || echo 'no command $(PYTHON)'). Needed: Python 3.11 or newer." \
	       "Install one and name it: make setup PYTHON=python3.11" >&2; exit 1; }
	@rm -f $@
	@$(PY) -m pip --version >/dev/null 2>&1 || { \
	  echo "Creating $(VENV) with $$($(PYTHON) --version) ..."; \
	  $(PYTHON) -m venv --clear $(VENV) || { \
	    echo "Could not create $(VENV); on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; }
	@echo "Installing the pinned packages into $(VENV); the first time this takes some minutes ..."
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(PY) -m pip install --no-input --constraint constraints.txt --editable '.[test,docs]'
	@$(PY) -m ipykernel install --sys-prefix --name python3 --display-name "Python 3 (ipykernel)" >/dev/null
	@$(PY) -m jupyter labextension disable --level=sys_prefix "@jupyterlab/apputils-extension:announcements" >/dev/null 2>&1
	@echo "$(CURDIR)" > $@

# The server's address, token included, is printed: it leads to the notebook where no browser could be started.
lab: setup
	@test -f "$(NOTEBOOK)" || { echo "No notebook $(NOTEBOOK); there are:" notebooks/*.ipynb >&2; exit 1; }
	@echo "Starting JupyterLab on 127.0.0.1 with $(NOTEBOOK); Ctrl-C twice stops it."
	@$(PY) -m jupyterlab --ip=127.0.0.1 --ServerApp.port_retries=50 --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url="/lab/tree/$(NOTEBOOK)" $(if $(filter 0,$(shell id -u)),--allow-root)

# Notebooks run two at a time, a thread each: by nbval, where they can reach no network and leave no file behind, their
# student versions with nothing filled in, and in a browser.
TWO_AT_A_TIME = OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --maxschedchunk=1
IN_A_BROWSER = tests/test_notebooks_browser.py
STUDENTS = tests/test_student_notebooks.py

test: setup
	$(PY) -m pytest tests --ignore=$(IN_A_BROWSER) --ignore=$(STUDENTS)
	OFFSEG_VIZ_CAMVID= OMP_NUM_THREADS=1 PYTHONPATH=tests/notebook_guard \
	  $(PY) -m pytest -p offseg_viz.nbval_rules --nbval --nbval-current-env -n 2 --dist loadscope \
	  --ignore=notebooks/exercises notebooks
	$(TWO_AT_A_TIME) $(STUDENTS) $(IN_A_BROWSER)

# Every notebook in a real JupyterLab and browser, from top to bottom; screenshots of its widgets in build/screenshots.
notebooks-browser: setup
	$(TWO_AT_A_TIME) $(IN_A_BROWSER)

# The student versions follow from the notebooks: make notebooks, make exercises.
exercises: setup
	$(PY) -m offseg_viz.course.exercises notebooks notebooks/exercises

site: setup
	$(PY) docs/build_site.py build/site
	@echo "Open build/site/index.html"

# Widget state would add megabytes to a notebook; timings and patch versions would change it at every run.
notebooks: setup
	$(PY) -m nbconvert --to notebook --execute --inplace --log-level=WARN \
	  --ExecutePreprocessor.kernel_name=python3 --ExecutePreprocessor.timeout=180 \
	  --ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False \
	  --ClearMetadataPreprocessor.enabled=True --ClearMetadataPreprocessor.clear_cell_metadata=False \
	  --ClearMetadataPreprocessor.preserve_nb_metadata_mask="{'kernelspec', ('language_info', 'name')}" \
	  notebooks/*.ipynb

# After changing the dependencies: make setup, make constraints, then write the new versions into environment.yml too.
# A local version such as 2.13.0+cpu names one build; the pin is the version that every index has.
constraints: setup
	$(PY) -m pip freeze --all --exclude pip --exclude-editable | sed 's/+[A-Za-z0-9.]*$$//' | LC_ALL=C sort -f > constraints.partial
	mv constraints.partial constraints.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
