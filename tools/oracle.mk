# No request smuggling: our parser and the balancer against Node's. CASES, SEED.
.PHONY: oracle
CASES ?= 20000

oracle: ## hostile requests read by our parser, by lb/lb and by Node: CASES=20000 SEED=n
oracle: ; @tools/setup.sh --check build test && tools/build.sh release programs && \
  $(PY) harness/oracle.py --cases $(CASES) $(if $(SEED),--seed $(SEED))
