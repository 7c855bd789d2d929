"""Run all proofs, or those whose names hold one of the words given; print them as a table.

`python -m rootshift.testbench.formal [WORD ...]`
"""

import sys

from .table import rows

if __name__ == "__main__":
    for row in rows(sys.argv[1:]):
        print(row, flush=True)
