"""Health checks: what is wrong with the host's setup, and how to fix it."""
