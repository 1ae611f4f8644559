"""Amodal video segmentation: an object's whole outline in each frame, its hidden part included.

After Yao et al., "Self-supervised Amodal Video Object Segmentation" (SaVos, NeurIPS 2022). Nothing
here knows of simulators or files: a clip is tensors.
"""
