# FactTune as one artifact. `make` alone lists the targets. The work is planned and run by volume/src/volume/pipeline.py;
# this file only says what can be typed, and `make help` reads it out: `##@` starts a group, `##` says what something is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
# A target runs what it needs itself, JOBS steps at once; two targets at once (-j) would only wait for each other.
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables
.DEFAULT_GOAL := help

$(if $(filter oneshell,$(.FEATURES)),,$(error GNU make 3.82 or later is needed; this is $(MAKE_VERSION)))
$(if $(wildcard volume/src/volume/pipeline.py),,$(error $(CURDIR) is not the checkout; run make there, or with: make -C FOLDER …))

VARIABLES := DATASET SEED SCALE LIMIT DATA ENVS ENGINE STACK PYTHON BASE_IMAGE RUNS REWARD JOBS GPUS WAIT LLM_MODE MAX_COST TABLE ROWS SEEDS CHECK CHECKOUT GOAL FILE BUNDLE WITHOUT ENV ARGS

# A site's own values, kept out of git: `?=` leaves the last word to the environment.
-include local.mk
FROM_SITE := $(strip $(foreach name,$(VARIABLES),$(if $(filter file,$(origin $(name))),$(name))))

##@ Variables: make TARGET NAME=value …
## `synth`, `bio`, `medqa`, or the path of your own .toml or .csv
DATASET ?= synth
## another world, in a folder of its own
SEED ?=
## a larger world and model, in a folder of its own: 2
SCALE ?=
## only the first N topics
LIMIT ?=
## the data volume
DATA ?= $(CURDIR)/data
## where virtual environments are made
ENVS ?= $(CURDIR)/.envs
## `docker`, `podman`, `apptainer`, `venv`; `auto`: the first that works
ENGINE ?= auto
## versions of the packages: `paper` or `current`
STACK ?= paper
## the host's Python 3.11
PYTHON ?=
## the image that ours are built on
BASE_IMAGE ?=
## only these policies: sft,factscore
RUNS ?=
## only policies trained on these rewards: factscore_avg,random
REWARD ?=
## steps side by side; else as many as the cores hold
JOBS ?=
## processes of a step with a model, each on a GPU of its own
GPUS ?=
## `no`: refuse where another run is writing the dataset
WAIT ?= yes
## calls to a service: `record`, `replay`, `refresh`
LLM_MODE ?=
## US dollars that a dataset's calls may cost
MAX_COST ?=

# Of one target each; its own line says what they are.
TABLE ?=
ROWS ?=
SEEDS ?=
CHECK ?=
CHECKOUT ?=
GOAL ?= report
FILE ?=
BUNDLE ?=
WITHOUT ?=
ENV ?=
ARGS ?=

export DATA ENGINE STACK ENVS BASE_IMAGE

# Any text as one word of the shell's.
q = '$(subst ','\'',$1)'
# Found by the recipe's own shell, so that `make -n` runs nothing at all.
THE_PYTHON = $(if $(PYTHON),$(call q,$(PYTHON)),"$$(command -v python3.11 || command -v python3 || echo python3.11)")
HOST_PYTHON = PYTHONPATH=$(call q,$(CURDIR)/volume/src) PYTHONDONTWRITEBYTECODE=1 $(THE_PYTHON)
PIPELINE = $(HOST_PYTHON) -m volume.pipeline
ENGINE_RUN = PYTHONDONTWRITEBYTECODE=1 $(THE_PYTHON) docker/engine.py

flag = $(if $($2),$1 $(call q,$($2)))
# Only what this very command says: a bundle names its own stack, and its rerun belongs into a folder of its own.
typed = $(if $(filter command,$(origin $2)),$(call flag,$1,$2))
VARIED = $(call flag,--seed,SEED) $(call flag,--scale,SCALE)
WORLD = --dataset $(call q,$(DATASET)) $(VARIED)
VOLUME = $(WORLD) --data-dir $(call q,$(DATA))
RUNNING = --data-dir $(call q,$(DATA)) $(call flag,--limit,LIMIT) $(call flag,--jobs,JOBS) $(call flag,--gpus,GPUS) $(call flag,--runs,RUNS) \
	$(call flag,--reward,REWARD) $(call flag,--llm-mode,LLM_MODE) $(call flag,--max-cost,MAX_COST) $(if $(filter no,$(WAIT)),--no-wait)
OPTIONS = $(WORLD) $(RUNNING)
PAPER = $(if $(filter file,$(origin DATASET)),,$(call flag,--dataset,DATASET)) $(call flag,--table,TABLE) $(call flag,--rows,ROWS) $(call flag,--seeds,SEEDS)

# NAME=origin=value, and the names on the command line, known or not: volume/src/volume/variables.py refuses what it does not know.
described = $(foreach name,$(VARIABLES),$1$(call q,$(name)=$(if $(filter $(name),$(FROM_SITE)),local.mk,$(origin $(name)))=$($(name))))
TYPED = $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(call q,$(name))))

STAGES := data factscore questions answers entities rewards train eval report

.PHONY: help ready demo $(STAGES) paper assets plan status doctor provenance crate checksums verify bundle rerun export-calls import-calls \
	images envs pin lock test pytest bench clean clean-envs

help:
	@awk '/^##@ / {group = substr($$0, 5); if (group ~ /^Variables/) kept = group; next} \
	  /^## / {text = substr($$0, 4); next} \
	  /^[A-Z_]+ [?]=/ && text {variables = variables sprintf("  %-12s %s\n", $$1, text); text = ""; next} \
	  /^[a-z-]+( [a-z-]+)?:.*## / {split($$0, part, ":.*## "); printf "%-12s %-13s %s\n", group, part[1], substr($$0, index($$0, "## ") + 3); group = ""} \
	  END {printf "\n%s\n%s", kept, variables}' Makefile

##@ The method
demo: ## the whole method on the synthetic world: no GPU, key, weights or Docker needed
##@ Stages
data: ## topics, their model's responses; of `synth` the world and model first (CHECK=1: topics only)
factscore: ## the responses' facts, each looked up in the knowledge base
questions: ## a question for every fact
answers: ## answers of the model to every question
entities: ## entities of the responses sampled anew, where the dataset has it
rewards: ## rewards of every response, and the pairs that they order
train: ## SFT, and a policy for each reward by DPO
eval: ## responses of every policy on the test topics, and their scores
report: ## report/index.html
demo $(STAGES): ready
	@$(if $(filter data,$@),$(if $(CHECK),$(HOST_PYTHON) -m volume.check_data $(VOLUME),$(PIPELINE) $@ $(OPTIONS)),$(PIPELINE) $@ $(OPTIONS))

##@ The paper
paper: ready ## the paper's tables beside ours (TABLE=2 ROWS=llama2 SEEDS=1); else all methods on `synth`
	@$(HOST_PYTHON) -m volume.paper $(PAPER) $(RUNNING) $(ARGS)

assets: ready ## models and knowledge base of DATASET (ARGS=--offline only looks; CHECKOUT= public prompts)
	@$(HOST_PYTHON) -m volume.assets --dataset $(call q,$(DATASET)) --data-dir $(call q,$(DATA)) $(call flag,--checkout,CHECKOUT) $(ARGS)

##@ Looking
plan: ready ## all variables; what would run and why, its cost, what is missing (GOAL=rewards; TABLE=2)
	@$(if $(TABLE),$(HOST_PYTHON) -m volume.paper_plan $(PAPER) --data-dir $(call q,$(DATA)) $(call flag,--limit,LIMIT) $(ARGS),$(PIPELINE) plan $(call q,$(GOAL)) $(OPTIONS) $(call described,--variable=))

status: ready ## the stages with their counts, what is stale and why
	@$(HOST_PYTHON) -m volume.status $(VOLUME) $(call flag,--limit,LIMIT)

doctor: ready ## whether this host can run it: engine, GPU, memory, disk, keys, files
	@$(HOST_PYTHON) docker/doctor.py $(VOLUME) $(call flag,--gpus,GPUS) $(call flag,--llm-mode,LLM_MODE) $(ARGS)

provenance: ready ## the chain of every output, or of FILE=, back to its sources, verified
	@$(HOST_PYTHON) -m volume.provenance $(VOLUME) $(call flag,--file,FILE) $(ARGS)

crate: ready ## ro-crate-metadata.json, which describes the dataset for archives
	@$(HOST_PYTHON) -m volume.crate $(VOLUME) $(ARGS)

checksums: ready ## SHA-256 of every output, in sha256sum's form
	@$(HOST_PYTHON) -m volume.checksums $(VOLUME)

verify: ready ## run `synth-portable` and compare every output with the committed checksums
	@$(HOST_PYTHON) -m volume.verify $(call typed,--dataset,DATASET) $(VARIED) $(RUNNING)

##@ Sharing
bundle: ready ## all that a rerun needs in one archive (FILE= its name, WITHOUT=models,… what to leave out)
	@$(HOST_PYTHON) -m volume.bundle $(VOLUME) $(call flag,--limit,LIMIT) $(call flag,--runs,RUNS) $(call typed,--goal,GOAL) $(call flag,--file,FILE) $(call flag,--without,WITHOUT)

rerun: ready ## make the results of BUNDLE= again, without network or key, and compare
	@[ -n $(call q,$(BUNDLE)) ] || { echo "error: make $@ needs BUNDLE, e.g. make $@ BUNDLE=bundle-synth.tar.gz" >&2; exit 2; }
	@$(HOST_PYTHON) -m volume.rerun $(call q,$(BUNDLE)) $(call typed,--data-dir,DATA) $(call typed,--stack,STACK) $(call flag,--jobs,JOBS) $(call flag,--gpus,GPUS)

export-calls: ## recorded calls of a service, to FILE=
import-calls: ## and from FILE=
export-calls import-calls: ready
	@[ -n $(call q,$(FILE)) ] || { echo "error: make $@ needs FILE, e.g. make $@ FILE=calls.jsonl.gz" >&2; exit 2; }
	@$(HOST_PYTHON) -m volume.llm $(subst -calls,,$@) $(call q,$(DATA)/llm_calls.sqlite) $(call q,$(FILE))

##@ Installing
# The largest first: it wants the most room while it is built.
images: ready ## build the three images now (else on first use)
	@$(ENGINE_RUN) prepare dpo csenv fsenv

envs: ready ## make the three virtual environments now (else on first use)
	@ENGINE=venv $(ENGINE_RUN) prepare fsenv csenv dpo

pin: ready ## record the digest of the base image
	@PYTHONDONTWRITEBYTECODE=1 $(THE_PYTHON) docker/pin.py

lock: ready ## renew the hashed locks from locks/*.in
	@PYTHON=$(THE_PYTHON) bash docker/lock.sh

##@ Developing
test: ready ## all tests, each package in its own environment
	@PYTHON=$(THE_PYTHON) bash tests/run.sh

pytest: ready ## tests of one environment: make pytest ENV=csenv ARGS='-k upstream'
	@case $(call q,$(ENV)) in fsenv|csenv|dpo) ;; *) echo "error: ENV="$(call q,$(ENV))": expected fsenv, csenv or dpo, e.g. make pytest ENV=csenv ARGS='-k upstream'" >&2; exit 2;; esac
	@PYTHON=$(THE_PYTHON) bash tests/run.sh $(ENV) $(ARGS)

bench: ready ## speed, as ratios measured side by side
	@PYTHON=$(THE_PYTHON) bash tests/run.sh bench $(ARGS)

##@ Cleaning
clean: ready ## delete the results of DATASET, SEED and SCALE (asks)
	@$(HOST_PYTHON) -m volume.clean $(VOLUME)

clean-envs: ready ## delete the virtual environments
	@folder=$(call q,$(ENVS)); rm -rf "$$folder"/{.uv,.uv-cache} "$$folder"/{.,}{fsenv,csenv,dpo}-{paper,current}* "$$folder"/.image-*.lock "$$folder"/facttune-*.sif; \
	rmdir "$$folder" 2>/dev/null || { [ ! -d "$$folder" ] || echo "kept in $$folder: what is no environment"; }

ready:
	@$(THE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "error: Python 3.11 is missing. Debian 12: apt-get install python3 python3-venv; Ubuntu: apt-get install python3.11 python3.11-venv; or make PYTHON=/path/to/python3.11 …" >&2; exit 2; }
	@$(HOST_PYTHON) -m volume.variables $(call described,) $(addprefix --typed=,$(TYPED))
