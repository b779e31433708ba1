"""Two methods, or the results of two revisions or folders, side by side."""
