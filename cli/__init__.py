"""The commands of `./flatline`; where the packages are there already, `python -m cli` is the same."""
