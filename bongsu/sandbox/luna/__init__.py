"""Luna Soft as one of the sandbox's dealers: the hub's queue, the center API, and the legacy route of its SDK."""
