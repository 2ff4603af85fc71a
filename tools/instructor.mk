# The instructor's goals; none of this file is in the hand-out. Included by Makefile, which defines PY.
SUBMISSIONS ?= submissions
GRADES ?= grades

.PHONY: handout verify-handout grade-all

handout: ## the students' tree, without solutions and hidden checks: build/handout/lb-labs.tar.gz
	@$(PY) harness/handout.py

verify-handout: ## builds the hand-out elsewhere and looks whether it scores as it should; minutes
	@tools/setup.sh --check build
	@$(PY) harness/handout.py --verify

grade-all: ## grade a folder: SUBMISSIONS=folder GRADES=folder SEED=n ARGS='--jobs 2 --only alice'
	@tools/setup.sh --check build
	@$(PY) harness/grade_all.py $(SUBMISSIONS) --out $(GRADES) $(if $(SEED),--seed $(SEED)) $(ARGS)
