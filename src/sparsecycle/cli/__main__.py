"""`python -m sparsecycle.cli`: the command line where no script is installed."""

import sys

from sparsecycle.cli import main

if __name__ == "__main__":
    sys.exit(main())
