"""Gabia (가비아), as its public clients show it."""
