"""What puts `rayforge` and `envs` on Ray, and the `rayforge` command."""
