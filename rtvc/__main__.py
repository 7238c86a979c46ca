"""`python -m rtvc` is the command `rtvc`."""

import sys

from rtvc.cli import main

if __name__ == "__main__":
    sys.exit(main())
