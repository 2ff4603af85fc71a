# The goals of the labs; included by Makefile, which defines PY and SEED.
T ?=
LEVEL ?=
N ?= 1000
GRADE := $(PY) harness/grade.py $(if $(T),--check $(T)) $(if $(SEED),--seed $(SEED))
LAB_TOOL := PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=harness $(PY) -m lbgrader

.PHONY: check-ch10 watch-ch10 doctor verify-labs flake

check-ch10: ## grade the four exercises in exercises/ch10 and all together; SEED=n replays
	@tools/setup.sh --check build
	@$(GRADE)

check-ch10.%: ## one exercise: 1 2 3 4 (or together); T=5 one check, SEED=n replays
	@tools/setup.sh --check build
	@$(GRADE) --exercise $*

watch-ch10: ## grade again whenever an exercise is saved, until Ctrl-C
	@tools/setup.sh --check build
	@$(LAB_TOOL).watching

hint-ch10.%: ## a hint: each call shows one level more, LEVEL=2 that one
	@$(LAB_TOOL).hints $* $(if $(LEVEL),--level $(LEVEL))

doctor: ## does this machine have what the labs need, and what to do if not
	@$(LAB_TOOL).doctor

verify-labs: ## are the graders right: reference, alternatives, starter, wrong answers, hostile ones
	@tools/setup.sh --check build
	@$(PY) harness/verify_labs.py

flake: ## how often the grader fails a right answer under load: N=1000 runs, rate and bound
	@tools/setup.sh --check build
	@$(LAB_TOOL).flake --runs $(N)
