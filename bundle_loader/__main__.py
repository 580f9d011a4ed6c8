"""`python -m bundle_loader` and the `bundle-loader` command."""

import sys

from bundle_loader.cli.main import run


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
