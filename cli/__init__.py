"""The commands of `./flatline`. Run as `./flatline <command>` or, with the packages there, `python -m cli <command>`."""
