"""Retraining without the samples that methods rank highest: who is removed, and what it says."""
