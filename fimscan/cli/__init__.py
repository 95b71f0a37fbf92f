"""The command line: parse arguments, call the pipeline, print the result, map errors to exit codes."""
