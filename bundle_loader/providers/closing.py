"""Closing providers, whatever they do."""

from __future__ import annotations

import logging

from bundle_loader.providers.base import Provider
from bundle_loader.providers.catalogues import CLOSING
from bundle_loader.providers.faults import words_of
from bundle_loader.providers.guarded import TooLong, guarded

logger = logging.getLogger("bundle_loader")


async def closed(provider: Provider) -> None:
    """Whatever a host's own provider does, the others are closed as well, and the host in time."""
    try:
        await guarded(lambda: provider.aclose(), CLOSING)
    except TooLong:
        logger.warning("a provider could not be closed within %g s", CLOSING)
    except Exception as error:  # noqa: BLE001 - it may raise anything
        logger.warning("a provider could not be closed: %s", words_of(error))
