SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
PY := .venv/bin/python
SENTIGATE := $(PY) -m sentigate
HOST ?= 127.0.0.1
PORT ?= 3000
URL ?=
KEY_FILE ?=

DATASET ?=
CANDIDATES ?=
TRAIN_FRACTION ?=
MODELS ?= production
DATASETS ?= bundled
ROWS ?= holdout
SAMPLE ?= 0

ROLE ?=
VERSION ?=
FORCE ?=
REASON ?=
export FORCE REASON
LIMIT ?=
SHARE ?=
MINUTES ?=
WATCH_ONLY ?=

BACKEND ?= auto
BASE ?=
NAME ?= sentigate
IMAGE ?= sentigate:latest
REGISTRY ?=
ENVIRONMENT ?= production
YES ?=
WITH_IMAGES ?=
PROFILES ?=
INTO ?=
FROM ?=
OVERLAY ?= staging
CANARY ?=
REPO ?=
LICENSE ?=
PUBLIC ?=
PREVIEW ?=
UPGRADE ?=

TEXT ?=
TEXT_FILE ?=
REQUEST_ID ?=
SUBJECT ?=
DRY_RUN ?=
OUT ?=
FORMAT ?=

# What was named here and now: a default would go to a cluster unseen.
OF_IMAGES = $(if $(filter command environment,$(origin IMAGE)),--image '$(IMAGE)') $(if $(CANARY),--canary '$(CANARY)')
ON_HUB = '$(REPO)' $(if $(LICENSE),--license '$(LICENSE)') $(if $(PUBLIC),--public) $(if $(PREVIEW),--preview '$(PREVIEW)')

# make ignores a variable whose name is misspelt, and the verb would aim at its defaults. What a verb takes is what its
# line of help names; the verbs of the stack hand on what compose.yaml reads, too.
HELP := $(shell awk -F ':.*## ' '/^[a-z-]+:.*## / { print $$1 ":"; \
  for (verb = $$1; match($$2, /[A-Z][A-Z_]*=/); $$2 = substr($$2, RSTART + RLENGTH)) \
    print verb ":" substr($$2, RSTART, RLENGTH - 1) }' $(MAKEFILE_LIST))
VERBS := $(patsubst %:,%,$(filter %:,$(HELP)))
GOALS := $(or $(MAKECMDGOALS),help)
STACK := SENTIGATE_IMAGE SENTIGATE_PORT SENTIGATE_SECRETS HTTP_PORT HTTPS_PORT REQUESTS_PER_SECOND PROMETHEUS_PORT \
  GRAFANA_PORT MLFLOW_PORT MLFLOW_ALLOWED_HOSTS BASE_IMAGE PIP_INDEX_URL
TAKEN := $(sort PYTHON $(foreach goal,$(GOALS),$(patsubst $(goal):%,%,$(filter $(goal):%,$(HELP)))) \
  $(if $(filter up down stack-secrets backup restore,$(GOALS)),$(STACK)))
override STRAY := $(sort $(filter-out $(TAKEN) PY MAKEFLAGS SENTIMENT_% DATABASE_URL DATABASE_URL_FILE, \
  $(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(name)))))
# `make promote VERSION 7` would promote before it finds that there is nothing called VERSION.
override STRANGE := $(filter-out $(VERBS) %.ready,$(MAKECMDGOALS))

KNOWN = $(sort $(foreach entry,$(HELP),$(word 2,$(subst :, ,$(entry)))))
NEAREST = $(shell python3 -c 'import difflib, sys; name, cutoff, *names = sys.argv[1:]; \
  known = {known.lower(): known for known in names}; \
  print(*map(known.get, difflib.get_close_matches(name.lower(), known, 1, float(cutoff))))' '$(subst ','\'',$1)' $2 $3)
MEANT = $(if $1, (did you mean $1?))
OWNED = $(if $1, ($1 is of make $(sort $(patsubst %:$1,%,$(filter %:$1,$(HELP))))))
HINT = $(if $(filter $1,$(KNOWN)),$(call OWNED,$1),$(or $(call MEANT,$(call NEAREST,$1,0.4,$(TAKEN))), \
  $(call OWNED,$(call NEAREST,$1,0.6,$(KNOWN)))))
$(if $(STRAY),$(error make $(GOALS) takes $(foreach name,$(STRAY),no $(name)$(call HINT,$(name)),) only $(TAKEN); \
  an environment variable goes before make))
$(if $(STRANGE),$(error make has $(foreach goal,$(STRANGE),no $(goal)$(if $(filter $(goal),$(KNOWN)), \
  (write $(goal)=value),$(call MEANT,$(call NEAREST,$(goal),0.6,$(VERBS)))),) see make help))
# A make that a recipe starts finds them in its environment.
MAKEOVERRIDES :=

.PHONY: help setup demo train evaluate serve test test-all check fix lock clean
.PHONY: promote approve reject canary rollback ledger seal-ledger rotate-signing-key
.PHONY: forget export
.PHONY: migrate image sbom audit push smoke
.PHONY: up down stack-secrets backup restore
.PHONY: kubernetes deploy-kubernetes undo-kubernetes deploy-aws destroy-aws
.PHONY: deploy-bentocloud destroy-bentocloud deploy-huggingface undeploy-huggingface deploy-space undeploy-space

help: ## Show what there is to do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-21s %s\n", $$1, $$2}'

setup: .venv/.ready ## Make .venv and the state folder of this checkout; safe to repeat; PYTHON=/path/to/python3.11
	@$(SENTIGATE) setup

.sentigate/.ready: .venv/.ready pipelines/setup.py sentiment/paths.py sentiment/environment.py
	@$(MAKE) --no-print-directory setup

INSTALL = .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes --requirement

.venv/.ready: requirements.lock requirements.cpu.lock requirements.cuda.lock
	@test -x $(PY) || $(PYTHON) -m venv .venv || { echo "make setup needs Python 3.11 with venv; name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing the packages of requirements.lock into .venv, about 3 minutes"
	@$(INSTALL) requirements.cpu.lock 2>/dev/null || true
	@$(INSTALL) requirements.lock
	@! .venv/bin/pip show torch | grep '^Requires:.*cuda' >/dev/null || $(INSTALL) requirements.cuda.lock
	@touch $@

demo: .sentigate/.ready ## Train, gate, build, serve and ask on the bundled comments; HOST=127.0.0.1 PORT=3000
	@$(SENTIGATE) demo --host $(HOST) --port $(PORT)

train: .sentigate/.ready ## Train and gate; DATASET=youtube CANDIDATES=svm,transformer TRAIN_FRACTION=0.05 FORCE="why", each optional
	@$(SENTIGATE) train $(if $(DATASET),--dataset '$(DATASET)') $(if $(CANDIDATES),--candidates '$(CANDIDATES)') $(if $(TRAIN_FRACTION),--train-fraction $(TRAIN_FRACTION)) $(if $(FORCE),--force "$$FORCE")

evaluate: .sentigate/.ready ## Measure and compare; MODELS=production,previous DATASETS=bundled,youtube ROWS=all SAMPLE=1000
	@$(SENTIGATE) evaluate --models '$(MODELS)' --datasets '$(DATASETS)' --rows $(ROWS) --sample $(SAMPLE)

serve: .sentigate/.ready ## Serve the production model; HOST=127.0.0.1 PORT=3000
	@$(SENTIGATE) serve --host $(HOST) --port $(PORT)

REACH = $(if $(REASON),--reason "$$REASON") $(foreach url,$(URL),--url '$(url)') $(if $(KEY_FILE),--key-file '$(KEY_FILE)')
OF_VERSION = $(if $(VERSION),--version '$(VERSION)')

promote: .sentigate/.ready ## Put a version into production; VERSION=7 REASON="why" FORCE="why in spite of the gate" URL=http://... KEY_FILE=...
	@$(SENTIGATE) promote $(OF_VERSION) $(REACH) $(if $(FORCE),--force "$$FORCE")

approve: .sentigate/.ready ## Say yes to the version that waits; VERSION=7 REASON="why" URL=http://... KEY_FILE=..., each optional
	@$(SENTIGATE) approve $(OF_VERSION) $(REACH)

reject: .sentigate/.ready ## Say no to the version that waits; REASON="why" VERSION=7
	@$(SENTIGATE) reject $(OF_VERSION) $(if $(REASON),--reason "$$REASON")

canary: .sentigate/.ready ## Try a version on live requests, then promote it or back it out; SHARE=0.1 MINUTES=30 VERSION=7 URL=http://... KEY_FILE=... WATCH_ONLY=1 FORCE="why"
	@$(SENTIGATE) canary $(OF_VERSION) $(if $(SHARE),--share $(SHARE)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(URL),--url '$(URL)') $(if $(KEY_FILE),--key-file '$(KEY_FILE)') $(if $(FORCE),--force "$$FORCE") $(if $(WATCH_ONLY),--watch-only)

rollback: .sentigate/.ready ## Put the previous version back, in running services too; REASON="why" VERSION=4 URL=http://... KEY_FILE=...
	@$(SENTIGATE) rollback $(OF_VERSION) $(REACH)

ledger: .sentigate/.ready ## Show decisions, approvals, promotions and rollbacks; VERSION=7 LIMIT=20
	@$(SENTIGATE) ledger show $(OF_VERSION) $(if $(LIMIT),--limit $(LIMIT))

seal-ledger: .sentigate/.ready ## Sign a ledger that somebody changed as it stands, once you have looked through it; REASON="why"
	@$(SENTIGATE) ledger seal $(if $(REASON),--reason "$$REASON")

rotate-signing-key: .sentigate/.ready ## Sign decisions with a new key; what the old one signed stays trusted
	@$(SENTIGATE) signing-key rotate

# As they are, whatever signs they have: neither make nor the shell looks into them.
forget export: export FORGET_TEXT := $(value TEXT)
forget export: export FORGET_TEXT_FILE := $(value TEXT_FILE)
forget export: export FORGET_REQUEST_ID := $(value REQUEST_ID)
forget export: export FORGET_SUBJECT := $(value SUBJECT)
forget export: export FORGET_REASON := $(value REASON)
forget export: export FORGET_OUT := $(value OUT)
OF_PERSON = $(if $(value TEXT),--text "$$FORGET_TEXT") $(if $(value TEXT_FILE),--text-file "$$FORGET_TEXT_FILE") $(if $(value REQUEST_ID),--request-id "$$FORGET_REQUEST_ID") $(if $(value SUBJECT),--subject "$$FORGET_SUBJECT")

forget: .sentigate/.ready ## Remove one person's rows from the log; TEXT="..." TEXT_FILE=- REQUEST_ID=... or SUBJECT=..., DRY_RUN=1 YES=1 REASON="why"
	@$(SENTIGATE) forget $(OF_PERSON) $(if $(DRY_RUN),--dry-run) $(if $(YES),--yes) --reason "$$FORGET_REASON"

export: .sentigate/.ready ## Write one person's rows of the log; TEXT="..." TEXT_FILE=- REQUEST_ID=... or SUBJECT=..., OUT=file FORMAT=csv
	@$(SENTIGATE) export $(OF_PERSON) $(if $(value OUT),--out "$$FORGET_OUT") $(if $(FORMAT),--format '$(FORMAT)')

migrate: .venv/.ready ## Bring the database of DATABASE_URL to the newest schema; ROLE=name of the service's role, which may use it
	@$(SENTIGATE) migrate $(if $(ROLE),--role '$(ROLE)')

image: .sentigate/.ready ## Build the container image; VERSION=3 BACKEND=podman BASE=python:3.11-slim-bookworm NAME=sentigate, each optional
	@$(SENTIGATE) image --backend '$(BACKEND)' --name '$(NAME)' $(if $(VERSION),--version '$(VERSION)') $(if $(BASE),--base '$(BASE)')

sbom: .sentigate/.ready ## List what is in an image as a CycloneDX file, by syft; IMAGE=sentigate:latest BACKEND=podman
	@command -v syft >/dev/null || { echo "make sbom needs syft on PATH; https://github.com/anchore/syft#installation" >&2; exit 1; }
	@syft scan '$(IMAGE)' $(if $(filter docker podman,$(BACKEND)),--from '$(BACKEND)') --output cyclonedx-json=.sentigate/sbom.cdx.json

audit: .sentigate/.ready ## Look the packages of the image up among known vulnerabilities
	@$(SENTIGATE) audit

smoke: export SMOKE_URL := $(or $(URL),http://127.0.0.1:3000)
smoke: export SMOKE_KEY_FILE := $(KEY_FILE)
smoke: export SMOKE_VERSION := $(VERSION)
smoke: export SMOKE_DIGEST := $(DIGEST)
smoke: ## Ask a running service; URL= KEY_FILE= VERSION= DIGEST=, and more options in SMOKE=, as SMOKE="--wait 300"
	@python3 deploy/smoke.py "$$SMOKE_URL" --key-file "$$SMOKE_KEY_FILE" --version "$$SMOKE_VERSION" --digest "$$SMOKE_DIGEST" $(SMOKE)

up: .venv/.ready ## Start the stack of one machine and wait until it is healthy; PROFILES=front,metrics,mlflow SENTIGATE_PORT=3000, each optional
	@$(SENTIGATE) stack up --profiles '$(PROFILES)'

down: .venv/.ready ## Stop the stack; what it stored is kept
	@$(SENTIGATE) stack down

stack-secrets: .venv/.ready ## Make the secrets of the stack that are missing, as `make up` does; PROFILES=front,metrics,mlflow
	@$(SENTIGATE) stack secrets --profiles '$(PROFILES)'

backup: .venv/.ready ## Dump the databases of the stack while they are used; INTO=folder
	@$(SENTIGATE) stack backup $(if $(INTO),'$(INTO)')

restore: .venv/.ready ## Put the databases of the stack back as they were in a backup; FROM=folder
	@$(SENTIGATE) stack restore '$(FROM)'

push: .sentigate/.ready ## Push an image to a registry; REGISTRY=HOST/NAME IMAGE=sentigate:latest
	@$(SENTIGATE) push '$(REGISTRY)' --image '$(IMAGE)'

deploy-aws: .sentigate/.ready ## Run on AWS; ENVIRONMENT=production IMAGE=...@sha256:... YES=1, each optional
	@$(SENTIGATE) deploy aws --environment '$(ENVIRONMENT)' $(if $(YES),--yes) apply $(if $(filter-out sentigate:latest,$(IMAGE)),--image '$(IMAGE)')

destroy-aws: .sentigate/.ready ## Take it away from AWS; ENVIRONMENT=production WITH_IMAGES=yes YES=1, each optional
	@$(SENTIGATE) deploy aws --environment '$(ENVIRONMENT)' $(if $(YES),--yes) destroy $(if $(WITH_IMAGES),--with-images)

kubernetes: .sentigate/.ready ## Print the manifests; OVERLAY=staging IMAGE=... CANARY=..., images by digest
	@$(SENTIGATE) deploy kubernetes show --overlay '$(OVERLAY)' $(OF_IMAGES)

deploy-kubernetes: .sentigate/.ready ## Bring kubectl's cluster to them, and wait; OVERLAY=production IMAGE=... CANARY=...
	@$(SENTIGATE) deploy kubernetes apply --overlay '$(OVERLAY)' $(OF_IMAGES)

undo-kubernetes: .sentigate/.ready ## Bring back there what ran before the last change; OVERLAY=production
	@$(SENTIGATE) deploy kubernetes undo --overlay '$(OVERLAY)'

deploy-bentocloud: .sentigate/.ready ## Deploy what is in production to BentoCloud; PREVIEW=1 shows what would be asked for
	@$(SENTIGATE) deploy bentocloud apply $(if $(PREVIEW),--dry-run)

destroy-bentocloud: .sentigate/.ready ## Stop the deployment on BentoCloud and remove it
	@$(SENTIGATE) deploy bentocloud destroy

deploy-huggingface: .sentigate/.ready ## Publish the model in production; REPO=user/name LICENSE=apache-2.0 PUBLIC=1 PREVIEW=folder
	@$(SENTIGATE) deploy huggingface publish $(ON_HUB)

undeploy-huggingface: .sentigate/.ready ## Take the newest version of a published model back; REPO=user/name
	@$(SENTIGATE) deploy huggingface withdraw '$(REPO)'

deploy-space: .sentigate/.ready ## Run what is in production as a Docker Space; REPO=user/name LICENSE=apache-2.0 PUBLIC=1 PREVIEW=folder
	@$(SENTIGATE) deploy space apply $(ON_HUB)

undeploy-space: .sentigate/.ready ## Delete a Space; REPO=user/name
	@$(SENTIGATE) deploy space destroy '$(REPO)'

# Two workers, because half of the time is waiting. What shares the container engine, or measures time, runs by itself.
PYTEST = .venv/bin/pytest --durations 25
AT_ONCE = --numprocesses 2 --dist loadfile

test: check ## Lint, types, import contracts and the tests of every change, within a quarter of an hour
	@$(PYTEST) $(AT_ONCE) -m 'not extended'

test-all: test ## Those, and containers, Terraform, further end-to-end stories, long loads
	@$(PYTEST) $(AT_ONCE) -m 'extended and not container and not alone'
	@$(PYTEST) -m 'container or alone'

check: .sentigate/.ready ## Lint, types and import contracts; edits nothing
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/deptry .
	@.venv/bin/deptry tests benchmarks --exclude nothing --ignore DEP002,DEP004

fix: .sentigate/.ready ## Format and mend what lint can mend
	@.venv/bin/ruff check --fix --quiet .
	@.venv/bin/ruff format --quiet .

lock: .venv/.ready ## Write the locks anew from pyproject.toml, with the versions they have; UPGRADE=1 takes newer ones
	@$(PY) -m deploy.ci.locks $(if $(UPGRADE),--upgrade)

clean: ## Remove the state of this checkout: models, runs, registry, ledger
	@rm -rf .sentigate .zen .mypy_cache .ruff_cache .pytest_cache
