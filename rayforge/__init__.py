"""What is learnt and measured: language, goals, imitation, evaluation, reports.

Nothing here knows of Ray, and nothing here imports `envs` or `trainers`.
"""
