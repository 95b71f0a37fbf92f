"""Whether everything is in place: checks that say what is wrong and what to do about it."""
