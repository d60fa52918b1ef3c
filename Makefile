# Two commands for a fresh machine: `make tables`, `make test`. The rest is for developers.
PYTHON ?= python3
DEVICE ?= cpu
VENV ?= .venv
BIN := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)/bin
EXPERIMENT ?= demo
# An index with torch for CPUs, https://download.pytorch.org/whl/cpu: 5 GB of CUDA are left out.
TORCH_INDEX ?=
CUDA := ^(nvidia|cuda|triton)
PROFILE := $(if $(filter gpu,$(DEVICE)),--profile profiles/gpu)
export PATH := $(BIN):$(PATH)

# Snakemake starts scripts by the path of Python, which it does not quote.
ifneq ($(words $(BIN)),1)
$(error There is a space in "$(BIN)", where Snakemake could not start Python. \
  Name another folder for the virtual environment: make VENV=/a/folder/without/spaces)
endif

.PHONY: tables report test stress coverage audit resolve bench docs site environment lint format lock restore record clean

tables: environment
	snakemake --cores all $(PROFILE) --config experiment=$(EXPERIMENT) -- all_tables all_figures

# One HTML page with tables, claims, curves and test episodes: results/$(EXPERIMENT)/report.html.
report: environment
	snakemake --cores all $(PROFILE) --config experiment=$(EXPERIMENT) -- all_report

test: environment lint
	pytest -n 2 --dist loadfile

# What takes long: many kills at random moments, every kind of damage to every file.
stress: environment
	pytest -m stress

# Lines of the package that the unit tests run, by module; COVERED=tests/unit/models tests a part of them.
COVERED ?= tests/unit
COVERAGE := $(BIN:%/bin=%/coverage)
coverage: environment
	test -d $(COVERAGE) || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --target $(COVERAGE) coverage==7.17.5
	mkdir -p build
	PYTHONPATH=$(COVERAGE) python -m coverage run -m pytest $(COVERED)
	PYTHONPATH=$(COVERAGE) python -m coverage report

# Known holes in the pinned packages, by PyPI's advisories. A package that cannot be looked up ends it.
audit: environment
	test -x $(VENV)/audit/bin/pip-audit || $(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	for device in cpu gpu; do \
	  $(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r envs/$$device.lock || exit 1; \
	done

# Whether PyPI has the packages for other systems and Pythons; reads metadata, installs nothing of them.
# Snakemake's connection-pool has no wheel and holds no compiled code.
resolve:
	test -x $(VENV)/uv/bin/pip || $(PYTHON) -m venv $(VENV)/uv
	$(VENV)/uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	@for platform in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu aarch64-apple-darwin; do \
	  for python in 3.11 3.12 3.13; do \
	    for extras in "--extra serve" "--extra serve --extra pipeline --extra cpu"; do \
	      echo "$$platform, Python $$python: $$extras"; \
	      $(VENV)/uv/bin/uv pip compile --system-certs --quiet pyproject.toml $$extras --no-header \
	        --python-platform $$platform --python-version $$python --only-binary :all: \
	        --no-binary connection-pool --output-file $(VENV)/uv/resolved.txt || exit 1; \
	    done; \
	  done; \
	done

# Hot paths against what a user would otherwise run, on one core: benchmarks/results.
bench: environment
	OMP_NUM_THREADS=1 python -m benchmarks.run

environment: $(VENV)/.installed-$(DEVICE)

# docs/config.md and the JSON schema of experiment files, from the blocks of umtfss/experiment;
# tests/staleness.md, what every key makes stale.
docs: environment
	python -m umtfss.experiment.reference
	python -m tests.staleness

# The documentation with an API reference, build/site/index.html; a link that leads nowhere ends it.
site: environment
	mkdocs build --strict

# The lock file pins every package; the marker is written last, so a broken install is redone.
# faiss-cpu and faiss-gpu share a folder and must not meet: both go before either comes.
$(VENV)/.installed-$(DEVICE): envs/$(DEVICE).lock pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	rm -f $(VENV)/.installed-*
	$(BIN)/python -m pip uninstall --quiet --yes faiss-cpu faiss-gpu
	grep -vE $(if $(TORCH_INDEX),'$(CUDA)',-e '^$$') envs/$(DEVICE).lock > $(VENV)/$(DEVICE).lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r $(VENV)/$(DEVICE).lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/python -c 'import faiss'
	touch $@

lint: environment
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	bandit --quiet --recursive --configfile pyproject.toml benchmarks profiles umtfss workflow_scripts
	snakefmt --check Snakefile rules
	snakemake --lint

format: environment
	ruff check --fix .
	ruff format .
	snakefmt Snakefile rules

# Both lock files, from pyproject.toml.
lock:
	for device in cpu gpu; do \
	  $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --extra pipeline --extra $$device --extra serve --extra onnx --extra tensorboard --extra dev --extra docs \
	    --output-file envs/$$device.lock pyproject.toml; \
	done

# Caches from and to the DVC remote; the scripts say why not bare dvc commands.
restore: environment
	workflow_scripts/restore.sh

record: environment
	workflow_scripts/record.sh

clean:
	rm -rf $(VENV) .snakemake
