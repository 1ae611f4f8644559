"""Clips of one object with exact whole masks and flow: made, written and read."""
