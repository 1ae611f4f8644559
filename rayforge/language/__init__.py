"""Vocabulary and tokeniser, text encoders."""
