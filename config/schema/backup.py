"""Names that the CronJob of backups and the commands share."""

NAME = "backup"
"""The CronJob, in the namespace of the services."""

DOCUMENTS = "backup-documents"
"""The Secret with the texts of an installation that go into each archive. Commands write it."""
