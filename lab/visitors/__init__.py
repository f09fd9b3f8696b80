"""Who uses the site while it moves: visitors, developers, those who get its mail."""
