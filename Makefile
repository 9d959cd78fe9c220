SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
PY := .venv/bin/python
HOST ?= 127.0.0.1
PORT ?= 3000
DATASET ?=
CANDIDATES ?=
TRAIN_FRACTION ?=
FORCE ?=
export FORCE
MODELS ?= production
DATASETS ?= bundled
ROWS ?= holdout
SAMPLE ?= 0
VERSION ?=
BACKEND ?= auto
BASE ?=
NAME ?= sentigate
IMAGE ?= sentigate:latest
REPO ?=
LICENSE ?=
PUBLIC ?=
PREVIEW ?=
ON_HUB = '$(REPO)' $(if $(LICENSE),--license '$(LICENSE)') $(if $(PUBLIC),--public) $(if $(PREVIEW),--preview '$(PREVIEW)')

.PHONY: help setup demo train evaluate serve ledger image sbom audit deploy-bentocloud destroy-bentocloud deploy-huggingface undeploy-huggingface deploy-space undeploy-space test check fix lock clean

help: ## Show what there is to do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: .venv/.ready ## Make .venv and the state folder of this checkout; safe to repeat
	@$(PY) -m pipelines.setup
	@touch .sentigate/.ready

.sentigate/.ready: .venv/.ready pipelines/setup.py sentiment/state.py
	@$(MAKE) --no-print-directory setup

.venv/.ready: requirements.lock
	@test -x $(PY) || $(PYTHON) -m venv .venv || { echo "make setup needs Python 3.11 with venv; name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing the packages of requirements.lock into .venv, about 3 minutes"
	@.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

demo: .sentigate/.ready ## Train, gate, build, serve and ask on the bundled comments
	@$(PY) -m pipelines.demo --host $(HOST) --port $(PORT)

train: .sentigate/.ready ## Train and gate; DATASET=youtube CANDIDATES=svm,transformer TRAIN_FRACTION=0.05 FORCE="why", each optional
	@$(PY) -m pipelines.run training $(if $(DATASET),--dataset '$(DATASET)') $(if $(CANDIDATES),--candidates '$(CANDIDATES)') $(if $(TRAIN_FRACTION),--train-fraction $(TRAIN_FRACTION)) $(if $(FORCE),--force "$$FORCE")

evaluate: .sentigate/.ready ## Measure and compare; MODELS=production,previous DATASETS=bundled,youtube ROWS=all SAMPLE=1000
	@$(PY) -m pipelines.run evaluation --models '$(MODELS)' --datasets '$(DATASETS)' --rows $(ROWS) --sample $(SAMPLE)

serve: .sentigate/.ready ## Serve the production model; HOST=127.0.0.1 PORT=3000
	@$(PY) -m service.start --host $(HOST) --port $(PORT)

ledger: .sentigate/.ready ## Show decisions, promotions and rollbacks
	@$(PY) -m pipelines.run ledger

image: .sentigate/.ready ## Build the container image; VERSION=3 BACKEND=podman BASE=python:3.11-slim-bookworm NAME=sentigate, each optional
	@$(PY) -m deploy.image --backend '$(BACKEND)' --name '$(NAME)' $(if $(VERSION),--version '$(VERSION)') $(if $(BASE),--base '$(BASE)')

sbom: .sentigate/.ready ## List what is in an image as a CycloneDX file; IMAGE=sentigate:latest
	@$(PY) -m deploy.sbom --backend '$(BACKEND)' '$(IMAGE)'

audit: .sentigate/.ready ## Look the packages of the image up among known vulnerabilities
	@$(PY) -m deploy.audit

deploy-bentocloud: .sentigate/.ready ## Deploy what is in production to BentoCloud; PREVIEW=1 shows what would be asked for
	@$(PY) -m deploy.bentocloud deploy $(if $(PREVIEW),--dry-run)

destroy-bentocloud: .sentigate/.ready ## Stop the deployment on BentoCloud and remove it
	@$(PY) -m deploy.bentocloud destroy

deploy-huggingface: .sentigate/.ready ## Publish the model in production; REPO=user/name LICENSE=apache-2.0 PUBLIC=1 PREVIEW=folder
	@$(PY) -m deploy.huggingface model $(ON_HUB)

undeploy-huggingface: .sentigate/.ready ## Take the newest version of a published model back; REPO=user/name
	@$(PY) -m deploy.huggingface withdraw-model '$(REPO)'

deploy-space: .sentigate/.ready ## Run what is in production as a Docker Space; REPO=user/name LICENSE=apache-2.0 PUBLIC=1 PREVIEW=folder
	@$(PY) -m deploy.huggingface space $(ON_HUB)

undeploy-space: .sentigate/.ready ## Delete a Space; REPO=user/name
	@$(PY) -m deploy.huggingface remove-space '$(REPO)'

test: check ## Lint, types, import contracts and all tests
	@.venv/bin/pytest

check: .sentigate/.ready ## Lint, types and import contracts; edits nothing
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo

fix: .sentigate/.ready ## Format and mend what lint can mend
	@.venv/bin/ruff check --fix --quiet .
	@.venv/bin/ruff format --quiet .

lock: ## Resolve pyproject.toml anew into requirements.lock, and what the image has of it into service/requirements.lock
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); print(*p['project']['dependencies'], *p['dependency-groups']['dev'], sep='\n')" > .venv-lock/wanted.txt
	@.venv-lock/bin/pip install --quiet --requirement .venv-lock/wanted.txt
	@{ echo "# Made by 'make lock' from pyproject.toml."; .venv-lock/bin/pip freeze | sed -E -e 's/^(torch==[0-9.]+)\+cpu$$/\1/' -e "s/^((daal|scikit-learn-intelex|tbb|tcmlib)==.*)/\1; platform_machine == 'x86_64'/"; } > requirements.lock
	@{ echo "# Made by 'make lock' from service/requirements.txt, for images on x86-64 and aarch64; hf-xet is for downloads alone."; .venv-lock/bin/uv pip compile --quiet service/requirements.txt --constraints requirements.lock --no-emit-package hf-xet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --only-binary :all: --generate-hashes --no-annotate --no-header; } > service/requirements.lock
	@rm -rf .venv-lock

clean: ## Remove the state of this checkout: models, runs, registry, ledger
	@rm -rf .sentigate .zen .mypy_cache .ruff_cache .pytest_cache
