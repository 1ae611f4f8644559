"""Episodes, navigation graphs, generated houses and the Gymnasium environments over them.

Nothing here knows of learners or of Ray; it may import `rayforge`, never `trainers`.
"""
