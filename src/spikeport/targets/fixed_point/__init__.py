"""The integer arithmetic of chips: as plain NumPy (integers.py, fractions.py), and compiled (compiled.py)."""
