"""What a run will need, said before it starts: memory, places, speed, disk (`rayforge plan`)."""
