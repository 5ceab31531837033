"""What `make bench` measures. See bench/README.md."""
