"""The two databases: what stands in the way of one following the other."""
