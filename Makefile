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
REASON ?=
export FORCE REASON
VERSION ?=
URL ?=
KEY_FILE ?=
LIMIT ?=
SHARE ?=
MINUTES ?=
WATCH_ONLY ?=
MODELS ?= production
DATASETS ?= bundled
ROWS ?= holdout
SAMPLE ?= 0
BACKEND ?= auto
BASE ?=
NAME ?= sentigate
IMAGE ?= sentigate:latest
PROFILES ?=
INTO ?=
FROM ?=

.PHONY: help setup demo train evaluate serve promote approve reject canary rollback ledger image sbom audit up down stack-secrets backup restore test check fix lock clean

help: ## Show what there is to do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

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

REACH = $(if $(REASON),--reason "$$REASON") $(foreach url,$(URL),--url '$(url)') $(if $(KEY_FILE),--key-file '$(KEY_FILE)')
OF_VERSION = $(if $(VERSION),--version '$(VERSION)')

promote: .sentigate/.ready ## Put a version into production; VERSION=7 REASON="why" FORCE="why in spite of the gate" URL=http://... KEY_FILE=...
	@$(PY) -m pipelines.run promote $(OF_VERSION) $(REACH) $(if $(FORCE),--force "$$FORCE")

approve: .sentigate/.ready ## Say yes to the version that waits; VERSION=7 REASON="why", both optional
	@$(PY) -m pipelines.run approve $(OF_VERSION) $(REACH)

reject: .sentigate/.ready ## Say no to the version that waits; REASON="why"
	@$(PY) -m pipelines.run reject $(OF_VERSION) $(if $(REASON),--reason "$$REASON")

canary: .sentigate/.ready ## Try a version on live requests, then promote it or back it out; SHARE=0.1 MINUTES=30 VERSION=7 URL=http://... KEY_FILE=... WATCH_ONLY=1
	@$(PY) -m pipelines.run canary $(OF_VERSION) $(if $(SHARE),--share $(SHARE)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(URL),--url '$(URL)') $(if $(KEY_FILE),--key-file '$(KEY_FILE)') $(if $(FORCE),--force "$$FORCE") $(if $(WATCH_ONLY),--watch-only)

rollback: .sentigate/.ready ## Put the previous version back, in running services too; REASON="why" VERSION=4 URL=http://... KEY_FILE=...
	@$(PY) -m pipelines.run rollback $(OF_VERSION) $(REACH)

ledger: .sentigate/.ready ## Show decisions, approvals, promotions and rollbacks; VERSION=7 LIMIT=20
	@$(PY) -m pipelines.run ledger $(OF_VERSION) $(if $(LIMIT),--limit $(LIMIT))

image: .sentigate/.ready ## Build the container image; VERSION=3 BACKEND=podman BASE=python:3.11-slim-bookworm NAME=sentigate, each optional
	@$(PY) -m deploy.image --backend '$(BACKEND)' --name '$(NAME)' $(if $(VERSION),--version '$(VERSION)') $(if $(BASE),--base '$(BASE)')

sbom: .sentigate/.ready ## List what is in an image as a CycloneDX file; IMAGE=sentigate:latest
	@$(PY) -m deploy.sbom --backend '$(BACKEND)' '$(IMAGE)'

audit: .sentigate/.ready ## Look the packages of the image up among known vulnerabilities
	@$(PY) -m deploy.audit

up: .venv/.ready ## Start the stack of one machine and wait until it is healthy; PROFILES=front,metrics,mlflow SENTIGATE_PORT=3000, each optional
	@$(PY) -m deploy.stack up --profiles '$(PROFILES)'

down: .venv/.ready ## Stop the stack; what it stored is kept
	@$(PY) -m deploy.stack down

stack-secrets: .venv/.ready ## Make the secrets of the stack that are missing; `make up` does so, too
	@$(PY) -m deploy.stack secrets --profiles '$(PROFILES)'

backup: .venv/.ready ## Dump the databases of the stack while they are used; INTO=folder
	@$(PY) -m deploy.stack backup $(if $(INTO),'$(INTO)')

restore: .venv/.ready ## Put the databases of the stack back as they were in a backup; FROM=folder
	@$(PY) -m deploy.stack restore '$(FROM)'

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

lock: ## Resolve pyproject.toml anew into requirements.lock, and what the images have of it into their own
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); print(*p['project']['dependencies'], *p['dependency-groups']['dev'], sep='\n')" > .venv-lock/wanted.txt
	@.venv-lock/bin/pip install --quiet --requirement .venv-lock/wanted.txt
	@{ echo "# Made by 'make lock' from pyproject.toml."; .venv-lock/bin/pip freeze | sed -E -e 's/^(torch==[0-9.]+)\+cpu$$/\1/' -e "s/^((daal|scikit-learn-intelex|tbb|tcmlib)==.*)/\1; platform_machine == 'x86_64'/"; } > requirements.lock
	@{ echo "# Made by 'make lock' from service/requirements.txt, for images on x86-64 and aarch64; hf-xet is for downloads alone."; .venv-lock/bin/uv pip compile --quiet service/requirements.txt --constraints requirements.lock --no-emit-package hf-xet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --only-binary :all: --generate-hashes --no-annotate --no-header; } > service/requirements.lock
	@{ echo "# Made by 'make lock' from deploy/mlflow/requirements.txt, for the MLflow server's image."; .venv-lock/bin/uv pip compile --quiet deploy/mlflow/requirements.txt --constraints requirements.lock --python-version 3.11 --python-platform x86_64-manylinux_2_28 --only-binary :all: --generate-hashes --no-annotate --no-header; } > deploy/mlflow/requirements.lock
	@rm -rf .venv-lock

clean: ## Remove the state of this checkout: models, runs, registry, ledger
	@rm -rf .sentigate .zen .mypy_cache .ruff_cache .pytest_cache
