"""Data sets of the benchmark, one file each: import `headwater.benchmark.datasets.NAME` directly."""
