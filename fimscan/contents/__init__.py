"""What a text says: secrets that must not be kept, differences by line, facts of well-known files. Pure."""
