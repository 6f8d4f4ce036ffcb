"""The services' configuration as far as it is constant; whatever is wired comes from the components."""
