"""Other programs' baselines -> what they knew of each file."""
