"""Lists of the agents that an agent may delegate to: entries that mean nobody, and lists that nothing reads."""

from __future__ import annotations

from bundle_loader.declared.bundle import SELF, Bundle
from bundle_loader.errors import Fault, did_you_mean
from bundle_loader.routing.lint_mcp import entry_place

DELEGATE = "delegate"


def agents_to_use(bundle: Bundle) -> list[Fault]:
    """A warning for each entry of `agents` that means no agent, and for a list or a tool `delegate` that comes to nothing."""
    found: list[Fault] = []
    for agent in bundle.agents.values():
        if agent.agents is None or agent.form != "own":
            continue
        for entry in agent.agents:
            if not bundle.meant(entry) and ("agents", entry) not in bundle.lost:
                near = did_you_mean(entry, [*bundle.agents, SELF])
                wild = "*" in entry or "?" in entry
                message = f"no agent fits '{entry}'" if wild else f"there is no agent '{entry}'{near}"
                place = entry_place(bundle, agent.name, "agents", entry)
                found.append(Fault(*place, "agents", message, "warning", "unknown-agent"))
        delegates = agent.tools is not None and DELEGATE in agent.tools
        if agent.agents and not delegates:
            place = entry_place(bundle, agent.name, "agents", agent.agents[0])
            message = f"is for agents that delegate; write '{DELEGATE}' in the tools of '{agent.name}', or leave it out"
            found.append(Fault(*place, "agents", message, "warning", "agents-unused"))
        elif delegates and not agent.agents:
            place = entry_place(bundle, agent.name, "tools", DELEGATE)
            message = f"'{DELEGATE}' is not offered: 'agents' lets '{agent.name}' use nobody"
            found.append(Fault(*place, "tools", message, "warning", "agents-unused"))
    return found
