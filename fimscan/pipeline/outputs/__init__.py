"""Tell receivers what scans found: make the messages of scans that are recorded in the outbox, and deliver them."""
