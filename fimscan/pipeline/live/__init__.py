"""Looks at single paths between the scans, as soon as the audit log speaks of them."""
