"""The stages of the workflow: one file a stage, run as ``python -m stages NAME ...``.

Every stage computes with one thread unless HEADWATER_THREADS says otherwise: the number of threads
changes the last bits of a sum, and the same stage must give the same bytes however it is run. Stages
run side by side instead, and train their models in processes.
"""

import os

# Before PyTorch or NumPy is imported: they read it once.
os.environ["OMP_NUM_THREADS"] = os.environ.get("HEADWATER_THREADS", "1")
