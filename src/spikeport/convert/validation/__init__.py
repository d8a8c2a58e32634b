"""Validation: a level of the conversion beside the one above it, on the same trials."""
