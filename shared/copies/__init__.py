"""Our templates at the dealers: where each copy stands, and which routes that closes."""
