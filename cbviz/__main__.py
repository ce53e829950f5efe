"""`python -m cbviz` is the command `cbviz`."""

import sys

from cbviz.cli import main

if __name__ == "__main__":
    sys.exit(main())
