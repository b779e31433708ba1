"""What each library is asked to do: one file a library, imported in its own environment only.

A file has ``CALLS``: by method, a function of the `Inputs` that imports what the call needs and
returns the call that is timed. The call returns scores (n_train, n_test), or a metric's values, in
the library's own sign and unit.
"""
