"""The sites that the lab has servers of."""
