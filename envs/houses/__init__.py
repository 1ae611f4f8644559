"""Generated houses: layout, furniture, navigation graph, instructions and their executor."""
