"""Models of the benchmark, one file each: import `headwater.benchmark.models.NAME` directly."""
