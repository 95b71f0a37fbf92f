"""Compare what a scan found with stored states; store the differences, unreadable files and holders."""
