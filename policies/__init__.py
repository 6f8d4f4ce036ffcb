"""Policy as code: rules over resources, whoever made them. Nothing here imports the program that is audited."""
