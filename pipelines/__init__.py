"""The execution layer: Prefect runs the graph that DVC owns."""
