"""``python -m sdcpc_core.benchmark``: the command where the package is not installed."""

import sys

from sdcpc_core.benchmark.command import benchmark
from sdcpc_core.errors import SdcpcError

# The processes of the contenders import this module as well.
if __name__ == "__main__":
    try:
        benchmark(sys.argv[1:])
    except SdcpcError as err:
        print(f"benchmark: error: {err}", file=sys.stderr)
        sys.exit(2)
