"""The site's names: what is said of them, asked and changed."""
