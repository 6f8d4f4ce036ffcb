"""Emulators of cloud services for a cluster of one's own. They seed themselves from the schemas."""
