"""fimscan: a file-integrity monitor that says which process made each change."""

__version__ = "0.1.0"
