"""Agreement with other libraries, in float64 on small nets: one file a library.

A file has ``CHECKS`` and is imported where its library is installed: `python -m benchmarks.parity`.
"""
