"""How long things take: each module is a program, see docs/testing.md."""
