"""What the kernel says beside audit: fanotify, file handles, processes. It imports nothing of ours but the model."""
