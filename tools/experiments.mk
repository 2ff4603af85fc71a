# The experiments of the course. ARGS='--reloads 20 --only rebind,share' goes to the driver.
.PHONY: experiment-reuseport

experiment-reuseport: ## chapter 10: what each way to reload does to waiting connections, measured here; 20 s
experiment-reuseport: ; @tools/setup.sh --check build && tools/build.sh release reuseport_server && \
  $(PY) harness/experiments/reuseport.py $(ARGS)
