"""Learning from use: session logs become tables, rewrites, lessons and training data.

Stands above `trainers.irl` and `trainers.alignment` and may import them; they never import this.
"""
