"""What differs between two points of the history, and why an answer is what it is."""
