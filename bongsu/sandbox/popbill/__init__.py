"""Popbill as one of the sandbox's dealers: tokens of Linkhub's, requests under a RequestNum, lookups by it."""
