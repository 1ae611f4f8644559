"""What is seen and said, made worse by degrees: one set of transforms for deficits and for shifts.

A shift has a name and a severity from 1 to 5. `images` are pixels, `features` the tables of
navigation graphs, `words` token numbers. Every transform is a pure function of its arguments and a
seed. The severities are designed here, after the five levels of ImageNet-C. Nothing here learns.
"""
