"""Tries as many inputs as fit into the time: `python -m tests.fuzz --minutes 10`. The laws are those of the test_fuzz*.py files.

Ends with status 1 at the first law broken, with the input that broke it.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parent
ROUND = 2000
"""Inputs per law and round; every round has a seed of its own."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="default: %(default)s")
    parser.add_argument("--inputs", type=int, default=ROUND, help="per law and round (default: %(default)s)")
    parser.add_argument("-k", default="fuzz", help="as of pytest: which laws (default: all)")
    options = parser.parse_args()
    tried: dict[str, int] = {}
    end, rounds = time.monotonic() + 60 * options.minutes, 0
    while not rounds or time.monotonic() < end:
        rounds += 1
        seed = secrets.randbits(32)
        output, status = one_round(seed, options)
        for law, count in counted(output).items():
            tried[law] = tried.get(law, 0) + count
        print(f"round {rounds}, seed {seed}: {sum(tried.values())} inputs in all", flush=True)
        if status:
            print(output)
            return 1
    for law, count in sorted(tried.items()):
        print(f"  {law:<40}{count}")
    return 0


def one_round(seed: int, options: argparse.Namespace) -> tuple[str, int]:
    """What pytest said, and its status."""
    files = sorted(str(path) for path in TESTS.rglob("test_fuzz*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", options.k, "--hypothesis-show-statistics"]
    env = {**os.environ, "HMR_FUZZ_EXAMPLES": str(options.inputs)}
    done = subprocess.run(
        [*command, f"--hypothesis-seed={seed}", *files],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout, done.returncode


def counted(output: str) -> dict[str, int]:
    """Inputs by law, from hypothesis' statistics."""
    tried: dict[str, int] = {}
    law = ""
    for line in output.splitlines():
        if match := re.match(r"\S+::(test_fuzz\w+):", line):
            law = match[1]
        elif match := re.search(r"(\d+) passing(?: examples)?, (\d+) failing", line):
            tried[law] = tried.get(law, 0) + int(match[1]) + int(match[2])
    return tried


if __name__ == "__main__":
    sys.exit(main())
