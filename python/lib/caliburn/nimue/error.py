"""Nimue's exceptions."""

from __future__ import annotations

from .. import errors


class NimueInvalidParameterValue(errors.ConfigError):
    """A parameter of a pool, or of `getconnection`, has a value that makes no sense."""


class NimueDBModuleFailure(errors.Error):
    """The driver's module could not be found from the class of its connections."""


class NimuePoolClosedError(errors.PoolClosed):
    """The pool is closed."""


class NimueNoConnectionAvailable(errors.PoolTimeout):
    """No connection could be had in time, or at once, or none that passed its check."""
