"""`doctor`: what is read once, checks that are functions of it, and the table of symptoms that they find."""
