"""Import the baselines of other programs."""
