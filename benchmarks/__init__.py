"""How fast the program is, in ratios to a minimum that is measured in the same run: `python -m benchmarks`."""
