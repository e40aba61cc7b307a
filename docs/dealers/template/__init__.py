"""A dealer to be: copy this folder, and follow docs/dealers/write-your-own.md. FILL IN 2: its name."""
