"""The files that the build of a client takes, made from a stack's pins."""
