"""Trunks: what makes a code of instruction and history, for policy, reward and critics alike.

A trunk has the methods of `RecurrentTrunk`; which one a network has is a setting.
"""
