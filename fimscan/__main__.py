"""``python -m fimscan``."""

from fimscan.cli.main import main

main()
