"""Navigation graphs, feature stores, observation tables and the batched graph simulator."""
