"""What a scan records: states beside what is stored, when each file was last read, and what could not be read."""
