"""What puts `rayforge` and `envs` on Ray, and the `rayforge` command."""

import os

# Ray reads this when it is imported. Without a cluster to join, one machine is meant: no other node
# will come, and everything listens on 127.0.0.1 alone, metrics included.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
