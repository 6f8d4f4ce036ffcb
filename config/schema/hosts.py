"""The host names of an installation, each a label before the domain."""

PUBLIC_HOSTS = ("whisper", "storage", "cdn0", "cdn3")
"""What clients connect to."""

ADMIN_HOSTS = ("whisper-admin", "storage-admin")
"""Routed with `exposeAdmin` alone."""
