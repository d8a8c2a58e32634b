"""The record of a loop: written by another process, readable after a crash, replayed bit for bit."""
