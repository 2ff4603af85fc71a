"""What `make bench` is made of: lb beside other proxies, in one interleaved run. See harness/README.md."""
