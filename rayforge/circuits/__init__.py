"""Neural attentive circuits: modules whose functions and whose wiring are learnt together.

After Rahaman, Weiss et al., "Neural Attentive Circuits" (NeurIPS 2022). A module has a code (what
it computes) and a signature (whom it listens to); the wiring is fixed before the pass. Nothing here
knows of episodes, instructions or images: a circuit reads tokens.
"""
