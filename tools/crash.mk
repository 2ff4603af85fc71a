# Included by Makefile, which defines PY.
.PHONY: crash-matrix

crash-matrix: programs ## kill, crash or freeze each process at every step of a reload, under traffic; ARGS='--quick'
	@$(PY) harness/crash_matrix.py --json build/report/crash_matrix.json $(ARGS)
