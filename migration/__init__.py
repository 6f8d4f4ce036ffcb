"""Moves the accounts, keys, messages and groups of an installation: into an archive, and from it into another one.

`transfer` is what a command does, over collections (`dynamodb`, `bigtable`, `objects`) and an archive (`archive`).
Nothing here prints, and no message holds the content of an item or of a key.
"""
