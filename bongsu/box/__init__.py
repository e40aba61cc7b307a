"""The whole system on one machine: what ``bongsu up``, the demo, the benches and the kill tests run."""

from bongsu.box.box import Box, BoxOptions

__all__ = ["Box", "BoxOptions"]
