"""Learning from use: what is learnt from logs of sessions in which people say what they want.

Labels, rephrases, rewriting, teaching and failure points. Nothing here reads a log or starts Ray.
"""
