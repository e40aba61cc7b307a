"""Benches: each prints figures as JSON, with the machine they were taken on. None is a test."""
