"""One strict reader for each file format: what can go wrong with a file becomes one line.

Every file that a user may have got from elsewhere is opened here and nowhere else. A reader checks
its limits (`limits`) before it takes memory, never unpickles, and raises a `UserError` that names
file, record and remedy. What the values mean is checked by whoever asked for them.
"""
