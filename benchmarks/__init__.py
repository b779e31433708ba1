"""Side-by-side speed measurements that anyone can run; results lie in `results/`."""
