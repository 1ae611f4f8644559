"""Navigation metrics and their confidence intervals. Imports nothing else of RayForge."""
