"""The users' git repositories."""
