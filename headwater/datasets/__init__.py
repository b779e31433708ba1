"""Data sets of the benchmark, one file each: import `headwater.datasets.NAME` directly."""
