"""Scan files: an ordered walk, digests in one pass, limits, and unreadable files with their reasons."""
