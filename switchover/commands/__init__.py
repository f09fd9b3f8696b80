"""What people type: a command a file."""
