"""``python -m services.fallback``."""

from services.fallback.app import start

start()
