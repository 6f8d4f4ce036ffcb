"""Pulumi components: every service and emulator of Flatline, and what they are made of."""
