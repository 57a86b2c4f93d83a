"""Keeps the garbage collector from stopping every thread to look at what was loaded once and stays.

Python's collector walks all containers now and then, with the interpreter locked. Networks, modules and settings are
most of them in a server; once they are loaded they are set aside, and a walk takes next to no time. Measured in
docs/results/reliability.md (E3).
"""

from __future__ import annotations

import gc


def set_aside() -> None:
    """Everything that is alive now is left out of later collections.

    Call when something large has been loaded; from any thread.
    """
    gc.collect()
    gc.freeze()
