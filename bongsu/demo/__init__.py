"""A shop's day in under two minutes, on the real code and a faster clock; of three dealers one goes down."""
