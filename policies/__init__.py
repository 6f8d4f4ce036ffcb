"""Policy as code: rules over resources from any source. Nothing here imports the program that it audits."""
