"""What tests here stand on."""

from tests.integration.sending.world import clock, config, dealer, insert, vault, world

__all__ = ["clock", "config", "dealer", "insert", "vault", "world"]
