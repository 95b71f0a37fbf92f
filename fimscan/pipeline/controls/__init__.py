"""Controls that failed: found at each scan and reading of the log, stored with start and end, reported once each.

facts      what was observed, as plain values
evaluate   facts -> symptoms -> transitions; pure: no clock, no file, no database    <- the judgement
observe    reads the facts: audit's observations and notices, disks, scans           <- the only input
record     stores the transitions, and says which of them are not reported yet
"""
