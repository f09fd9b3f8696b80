"""The site's DNS records: looked up, and changed."""
