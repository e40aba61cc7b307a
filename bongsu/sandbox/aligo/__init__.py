"""Aligo as one of the sandbox's dealers: HTTP 200 to everything, no key of the caller's, results for whoever asks."""
