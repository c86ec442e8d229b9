"""How the commands of this package end when something is wrong with what they were given: in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the process with status 1 and the message of a missing file or an unusable value. `python -X dev` shows the traceback instead."""
    try:
        yield
    except (ValueError, OSError) as error:
        if sys.flags.dev_mode:
            raise
        sys.exit(str(error))
