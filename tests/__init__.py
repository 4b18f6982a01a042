"""The tests. Each process of theirs has one thread, as in `make test`, however they are started.

More threads add up numbers in another order, and some tests compare what several processes made.
Libraries read these variables as they are loaded, so they are set before anything is imported.
"""

import os

for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")
