# The simulator of reloads. Included by Makefile.
SEEDS ?= 10000
STORY ?=

.PHONY: sim

sim: ## reloads simulated in virtual time: SEEDS=n from SEED=n; STORY=1 tells one; SABOTAGE=name breaks something
	@tools/setup.sh --check build
	@tools/build.sh release lb_simulate
	@build/release/lb/supervisor/lb_simulate --seeds $(SEEDS) $(if $(SEED),--seed $(SEED)) \
	  $(if $(STORY),--story) $(if $(SABOTAGE),--sabotage $(SABOTAGE))
