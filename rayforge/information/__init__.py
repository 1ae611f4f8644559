"""What weights hold about their task: Fisher information, information in nats, task vectors.

Pure functions of networks and tensors. Nothing here knows of agents, language models or Ray.
"""
