"""Bizppurio (다우기술 비즈뿌리오), as its spec v2.7 and its manual v3.0.1 have it."""
