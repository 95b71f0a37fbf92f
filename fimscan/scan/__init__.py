"""files -> FileState: an ordered walk, one pass of hashing, and what could not be read."""
