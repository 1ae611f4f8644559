"""The one `Episode` type, and readers and writers of the formats it comes in."""
