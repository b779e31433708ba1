"""The tests; a package, so that they can share problems, laws and references."""
