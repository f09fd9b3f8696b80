"""What became of the site, looked at past the program that moved it."""
