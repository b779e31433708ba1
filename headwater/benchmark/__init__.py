"""The benchmark's own numbers: what methods are worth, as records, tables and figures."""
