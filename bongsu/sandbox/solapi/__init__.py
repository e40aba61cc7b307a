"""SOLAPI v4 as the facts know it, under ``/solapi``."""
