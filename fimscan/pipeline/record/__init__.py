"""Compare what a scan found with what is stored, and store what differs, what was unreadable and who could write."""
