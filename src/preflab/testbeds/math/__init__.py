"""Holds mathematical problems. A solution is checked by its final answer."""
