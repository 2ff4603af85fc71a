# The instructor's goals; none of this file is in the hand-out. Included by Makefile, which defines PY.
SUBMISSIONS ?= submissions
GRADES ?= grades

.PHONY: handout verify-handout grade-all

handout: ## the students' tree: build/handout/lb-labs and lb-labs.tar.gz, without solutions, bug bank, hidden checks
	@$(PY) harness/handout.py

verify-handout: ## builds the hand-out in a folder of its own and compares its scores with what they should be; minutes
	@tools/setup.sh --check build
	@$(PY) harness/handout.py --verify

grade-all: ## a folder of submissions: SUBMISSIONS=folder GRADES=folder SEED=n ARGS='--jobs 2 --only alice'
	@tools/setup.sh --check build
	@$(PY) harness/grade_all.py $(SUBMISSIONS) --out $(GRADES) $(if $(SEED),--seed $(SEED)) $(ARGS)
