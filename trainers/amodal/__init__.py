"""Amodal video segmentation as a system: `rayforge amodal train | evaluate | watch`."""
