"""Read the audit log and fanotify into the store, and attribute changes to the processes that they report."""
