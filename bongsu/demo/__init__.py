"""A shop's day in about a minute, on the real code and a faster clock."""
