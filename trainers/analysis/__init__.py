"""Analyses of runs: what training puts into weights, when, about which task, and whom it serves.

Each loads finished runs or plans small ones, fans its trials out over Ray, writes one row a trial,
one JSON with intervals and one report. They stand above the systems: nothing imports them.
"""
