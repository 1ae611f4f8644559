"""LangGoalIRL's mathematics: networks, losses, replay. Tensors in, tensors out; no Ray."""
