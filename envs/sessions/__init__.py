"""Session logs of people who talk to an agent, and simulated people who make such logs.

`log` is the one file format; `noise`, `people` and `simulation` make logs with truth. No learner.
"""
