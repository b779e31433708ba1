"""Models of the benchmark, one file each: import `headwater.models.NAME` directly."""
