"""Does what a client does to reach a server, and tells the cause of what fails."""
