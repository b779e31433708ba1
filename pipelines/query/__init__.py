"""Which training samples a prediction flows from, answered from what the workflow made."""
