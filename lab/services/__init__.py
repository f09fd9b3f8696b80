"""What the ci host is for all others: it deploys, certifies, knows the names, takes the mail."""
