"""Paths as arrays of integer states, and what is seen along them."""
