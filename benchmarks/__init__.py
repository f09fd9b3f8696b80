"""Programs that measure; each prints how to use it."""
