"""What puts `rayforge` and `envs` on Ray, and the `rayforge` command."""

import os

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
ALONE = not os.environ.get("RAY_ADDRESS") and LOOPBACK not in os.environ
"""Whether one machine is meant, as far as is known now."""

# Ray reads this when it is imported. Without a cluster to join, one machine is meant: no other node
# will come, and everything listens on 127.0.0.1 alone, metrics included.
if ALONE:
    os.environ[LOOPBACK] = "0"
