"""One module for each command; each has `run(arguments, terminal) -> exit status`."""
