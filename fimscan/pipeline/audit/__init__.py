"""Reading audit and fanotify into the store, and joining changes with what they say."""
