"""Selftests: a file is made where fimscan monitors, and has to be noticed all the way to the receivers.

place    where the file is made
canary   has a process make it, and take it away
maker    the program of that process
judge    what was found -> the results of the steps. Pure
receive  what the outputs got of it
run      the steps in order; what they found is stored, and is a control
checks   the check of 'fimscan doctor'
"""
