"""Agents as markdown files that say which provider and model should do the work.

Public names are loaded when they are first used: importing the package opens nothing and loads no SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bundle_loader.declared.agent import Agent as Agent
    from bundle_loader.declared.bundle import Bundle as Bundle
    from bundle_loader.declared.preference import Preference as Preference
    from bundle_loader.declared.recipe import Recipe as Recipe
    from bundle_loader.declared.tables import Timeouts as Timeouts
    from bundle_loader.delegation.context import DelegationContext as DelegationContext
    from bundle_loader.delegation.hosted_tool import HostedTool as HostedTool
    from bundle_loader.delegation.result import Child as Child
    from bundle_loader.delegation.result import ChildEvent as ChildEvent
    from bundle_loader.delegation.result import DelegationResult as DelegationResult
    from bundle_loader.delegation.result import DoneEvent as DoneEvent
    from bundle_loader.delegation.sessions import Sessions as Sessions
    from bundle_loader.delegation.spawner import Spawner as Spawner
    from bundle_loader.delegation.tool_output import ToolOutput as ToolOutput
    from bundle_loader.delegation.tools import Tool as Tool
    from bundle_loader.delegation.tools import ToolFailed as ToolFailed
    from bundle_loader.errors import AllDown as AllDown
    from bundle_loader.errors import AllFailed as AllFailed
    from bundle_loader.errors import BrokenAnswer as BrokenAnswer
    from bundle_loader.errors import BudgetRefused as BudgetRefused
    from bundle_loader.errors import BundleLoaderError as BundleLoaderError
    from bundle_loader.errors import DeadlineExceeded as DeadlineExceeded
    from bundle_loader.errors import DeclarationError as DeclarationError
    from bundle_loader.errors import Fault as Fault
    from bundle_loader.errors import Forbidden as Forbidden
    from bundle_loader.errors import InvalidOutput as InvalidOutput
    from bundle_loader.errors import LedgerError as LedgerError
    from bundle_loader.errors import LimitReached as LimitReached
    from bundle_loader.errors import NoAnswer as NoAnswer
    from bundle_loader.errors import NoCandidate as NoCandidate
    from bundle_loader.errors import ProviderFailure as ProviderFailure
    from bundle_loader.errors import RecipeFailed as RecipeFailed
    from bundle_loader.errors import RequestError as RequestError
    from bundle_loader.errors import SessionError as SessionError
    from bundle_loader.errors import StepFailed as StepFailed
    from bundle_loader.errors import Stopped as Stopped
    from bundle_loader.events import BudgetEvent as BudgetEvent
    from bundle_loader.events import CatalogueChanged as CatalogueChanged
    from bundle_loader.events import FallbackEvent as FallbackEvent
    from bundle_loader.events import OutcomeEvent as OutcomeEvent
    from bundle_loader.events import PatternMoved as PatternMoved
    from bundle_loader.events import StatusEvent as StatusEvent
    from bundle_loader.events import TextEvent as TextEvent
    from bundle_loader.events import ToolEvent as ToolEvent
    from bundle_loader.events import TurnEvent as TurnEvent
    from bundle_loader.host import Host as Host
    from bundle_loader.ledger.estimate import CallEstimate as CallEstimate
    from bundle_loader.messages import Blob as Blob
    from bundle_loader.messages import Message as Message
    from bundle_loader.messages import Text as Text
    from bundle_loader.messages import ToolCall as ToolCall
    from bundle_loader.messages import ToolResult as ToolResult
    from bundle_loader.messages import ToolSpec as ToolSpec
    from bundle_loader.messages import Usage as Usage
    from bundle_loader.providers.base import Provider as Provider
    from bundle_loader.providers.simulated import SimulatedProvider as SimulatedProvider
    from bundle_loader.recipes.past import PastRun as PastRun
    from bundle_loader.recipes.result import ApprovalWanted as ApprovalWanted
    from bundle_loader.recipes.result import RunDone as RunDone
    from bundle_loader.recipes.result import RunResult as RunResult
    from bundle_loader.recipes.result import RunStarted as RunStarted
    from bundle_loader.recipes.result import StepEnded as StepEnded
    from bundle_loader.recipes.result import StepProgress as StepProgress
    from bundle_loader.recipes.result import StepRecord as StepRecord
    from bundle_loader.recipes.result import StepRetried as StepRetried
    from bundle_loader.recipes.result import StepStarted as StepStarted
    from bundle_loader.routing.candidate import Candidate as Candidate
    from bundle_loader.routing.candidate import Rejection as Rejection
    from bundle_loader.routing.candidate import Route as Route
    from bundle_loader.routing.catalogue import ModelInfo as ModelInfo
    from bundle_loader.routing.model_names import newest_models as newest_models
    from bundle_loader.routing.request import DecidedBy as DecidedBy
    from bundle_loader.routing.step import StepChoice as StepChoice
    from bundle_loader.sources.load import load_bundle as load_bundle
    from bundle_loader.sources.recipes import load_recipe as load_recipe
    from bundle_loader.sync import SyncHost as SyncHost

__version__ = "0.1.0"

_HOMES = {
    "declared.agent": ("Agent",),
    "declared.bundle": ("Bundle",),
    "declared.preference": ("Preference",),
    "declared.recipe": ("Recipe",),
    "declared.tables": ("Timeouts",),
    "delegation.context": ("DelegationContext",),
    "delegation.hosted_tool": ("HostedTool",),
    "delegation.result": ("Child", "ChildEvent", "DelegationResult", "DoneEvent"),
    "delegation.sessions": ("Sessions",),
    "delegation.spawner": ("Spawner",),
    "delegation.tool_output": ("ToolOutput",),
    "delegation.tools": ("Tool", "ToolFailed"),
    "errors": (
        "AllDown",
        "AllFailed",
        "BrokenAnswer",
        "BudgetRefused",
        "BundleLoaderError",
        "DeadlineExceeded",
        "DeclarationError",
        "Fault",
        "Forbidden",
        "InvalidOutput",
        "LedgerError",
        "LimitReached",
        "NoAnswer",
        "NoCandidate",
        "ProviderFailure",
        "RecipeFailed",
        "RequestError",
        "SessionError",
        "StepFailed",
        "Stopped",
    ),
    "events": (
        "BudgetEvent",
        "CatalogueChanged",
        "FallbackEvent",
        "OutcomeEvent",
        "PatternMoved",
        "StatusEvent",
        "TextEvent",
        "ToolEvent",
        "TurnEvent",
    ),
    "host": ("Host",),
    "ledger.meter": ("CallEstimate",),
    "messages": ("Blob", "Message", "Text", "ToolCall", "ToolResult", "ToolSpec", "Usage"),
    "providers.base": ("Provider",),
    "providers.simulated": ("SimulatedProvider",),
    "recipes.past": ("PastRun",),
    "recipes.result": (
        "ApprovalWanted",
        "RunDone",
        "RunResult",
        "RunStarted",
        "StepEnded",
        "StepProgress",
        "StepRecord",
        "StepRetried",
        "StepStarted",
    ),
    "routing.candidate": ("Candidate", "Rejection", "Route"),
    "routing.catalogue": ("ModelInfo",),
    "routing.model_names": ("newest_models",),
    "routing.request": ("DecidedBy",),
    "routing.step": ("StepChoice",),
    "sources.load": ("load_bundle",),
    "sources.recipes": ("load_recipe",),
    "sync": ("SyncHost",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'bundle_loader' has no attribute '{name}'")
    value = getattr(import_module(f"bundle_loader.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
