"""A dealer that can be made to fail on purpose, and a book of what it really did."""

from bongsu.sandbox.profile import (
    DEFAULT_API_KEY,
    DEFAULT_API_SECRET,
    DEFAULT_CHANNEL,
    DEFAULT_SENDER,
    DEFAULT_WEBHOOK_SECRET,
    CallFault,
    FaultProfile,
    Operation,
    Profile,
    Template,
    load_profile,
)
from bongsu.sandbox.server import Sandbox, SandboxSettings, serve, start_sandbox

__all__ = [
    "DEFAULT_API_KEY",
    "DEFAULT_API_SECRET",
    "DEFAULT_CHANNEL",
    "DEFAULT_SENDER",
    "DEFAULT_WEBHOOK_SECRET",
    "CallFault",
    "FaultProfile",
    "Operation",
    "Profile",
    "Sandbox",
    "SandboxSettings",
    "Template",
    "load_profile",
    "serve",
    "start_sandbox",
]
