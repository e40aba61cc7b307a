"""``python -m services.dispatcher``."""

from services.dispatcher.app import start

start()
