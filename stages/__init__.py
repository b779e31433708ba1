"""The stages of the workflow: one file a stage, run as ``python -m stages.NAME``."""
