"""Naver Cloud SENS as its documents and two public clients know it, under ``/sens``."""
