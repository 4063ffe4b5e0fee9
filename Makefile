# FactTune as one artifact. `make` alone lists the targets. The work is planned and run by volume/src/volume/pipeline.py;
# this file only says what can be typed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables
.DEFAULT_GOAL := help

DATASET ?= synth
DATA ?= $(CURDIR)/data
ENGINE ?= auto
STACK ?= paper
ENVS ?= $(CURDIR)/.envs
SEED ?=
SCALE ?=
LIMIT ?=
JOBS ?=
GPUS ?=
RUNS ?=
LLM_MODE ?=
MAX_COST ?=
FILE ?=
GOAL ?= report
ENV ?=
ARGS ?=
BASE_IMAGE ?=
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name) 2>/dev/null)) python3.11)

export DATA ENGINE STACK ENVS BASE_IMAGE

WORLD = --dataset "$(DATASET)" $(if $(SEED),--seed "$(SEED)") $(if $(SCALE),--scale "$(SCALE)")
OPTIONS = $(WORLD) --data-dir "$(DATA)" $(if $(LIMIT),--limit "$(LIMIT)") $(if $(JOBS),--jobs "$(JOBS)") $(if $(GPUS),--gpus "$(GPUS)") $(if $(RUNS),--runs "$(RUNS)") \
	$(if $(LLM_MODE),--llm-mode "$(LLM_MODE)") $(if $(MAX_COST),--max-cost "$(MAX_COST)")
HOST_PYTHON = PYTHONPATH="$(CURDIR)/volume/src" PYTHONDONTWRITEBYTECODE=1 "$(PYTHON)"
PIPELINE = $(HOST_PYTHON) -m volume.pipeline
ENGINE_RUN = PYTHONDONTWRITEBYTECODE=1 "$(PYTHON)" "$(CURDIR)/docker/engine.py"
STAGES := data factscore questions answers entities rewards train eval report

.PHONY: help demo plan $(STAGES) envs images lock test pytest checksums clean clean-envs bench export-calls import-calls python

help: ## this list
	@grep -hE '^[a-z$$][a-z $$()A-Z-]*:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/; s/$$(STAGES)/data … report/' | while IFS=$$'\t' read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done
	@echo "  variables: DATASET DATA ENGINE STACK SEED SCALE RUNS LIMIT JOBS GPUS LLM_MODE MAX_COST (see README.md)"

demo: python ## the whole method on the synthetic world: no GPU, key, weights or Docker needed
	@$(PIPELINE) demo $(OPTIONS)

$(STAGES): python ## one stage and what it needs: data factscore questions answers entities rewards train eval report
	@$(PIPELINE) $@ $(OPTIONS)

plan: python ## what would run and why, and what is missing (GOAL=rewards: up to there)
	@$(PIPELINE) plan "$(GOAL)" $(OPTIONS)

checksums: python ## SHA-256 of every output, in sha256sum's form
	@$(HOST_PYTHON) -m volume.checksums $(WORLD) --data-dir "$(DATA)"

envs: python ## make the three virtual environments now (else on first use)
	@ENGINE=venv $(ENGINE_RUN) prepare fsenv csenv dpo

images: python ## build the three images now (else on first use)
	@$(ENGINE_RUN) prepare fsenv csenv dpo

test: python ## all tests, each package in its own environment
	@PYTHON="$(PYTHON)" bash tests/run.sh

pytest: python ## tests of one environment: make pytest ENV=csenv ARGS='-k upstream'
	@case "$(ENV)" in fsenv|csenv|dpo) ;; *) echo "error: ENV=$(ENV): expected fsenv, csenv or dpo, e.g. make pytest ENV=csenv ARGS='-k upstream'" >&2; exit 2;; esac
	@PYTHON="$(PYTHON)" bash tests/run.sh "$(ENV)" $(ARGS)

bench: python ## speed, as ratios measured side by side
	@PYTHON="$(PYTHON)" bash tests/run.sh bench $(ARGS)

export-calls import-calls: python ## recorded calls to and from a file: make export-calls FILE=calls.jsonl.gz
	@[ -n "$(FILE)" ] || { echo "error: make $@ needs FILE, e.g. make $@ FILE=calls.jsonl.gz" >&2; exit 2; }
	@$(HOST_PYTHON) -m volume.llm $(subst -calls,,$@) "$(DATA)/llm_calls.sqlite" "$(FILE)"

lock: python ## renew the hashed locks from locks/*.in
	@PYTHON="$(PYTHON)" bash docker/lock.sh

clean: python ## delete the results of DATASET, SEED and SCALE (asks)
	@folder="$(DATA)/$$($(HOST_PYTHON) -m volume.datasets $(WORLD))"; [ -d "$$folder" ] || { echo "there is no $$folder"; exit 0; }; \
	read -r -p "Delete $$folder? [y/N] " answer; if [ "$$answer" = y ]; then rm -rf "$$folder"; else echo "kept"; fi

clean-envs: ## delete the virtual environments
	rm -rf "$(ENVS)"

python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "error: Python 3.11 is missing. Debian 12: apt-get install python3 python3-venv; Ubuntu: apt-get install python3.11 python3.11-venv; or make PYTHON=/path/to/python3.11 …" >&2; exit 2; }
