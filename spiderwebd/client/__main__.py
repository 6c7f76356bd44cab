"""`python -m spiderwebd.client` is `spiderweb`."""

import sys

from spiderwebd.client.cli import main

if __name__ == "__main__":
    sys.exit(main())
