"""`python -m spiderwebd`: the same as the command."""

from spiderwebd.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
