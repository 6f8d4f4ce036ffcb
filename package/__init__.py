"""Flatline as a Pulumi component package, for programs in any of Pulumi's languages (docs/component.md)."""
