"""Hanbit (한빛메시지), a dealer that does not exist: the example of docs/dealers/write-your-own.md."""
