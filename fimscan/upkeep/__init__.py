"""Look after the database: back up, restore, check, upgrade, prune.

backup    a checked copy, while scans run
restore   put a copy in place, and record that
upgrade   bring the schema up to date, with a copy of what was before
prune     remove what is older than [retention] says
"""
