"""The first import of the fork server: it ends with the process that started it, also while it imports.

Left alone it would notice that only when all is imported, and then take all of that apart.
"""

import os
import signal

from evo_nas.executors.guard import PARENT, die_with_parent

if parent := os.environ.pop(PARENT, ""):
    die_with_parent(signal.SIGKILL)
    if os.getppid() != int(parent):  # it has died already
        os._exit(1)
