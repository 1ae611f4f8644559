"""What every run of every system needs; nothing here knows a system."""
