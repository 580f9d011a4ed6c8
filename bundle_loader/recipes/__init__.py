"""Running recipes: steps, loops, groups and approvals, checkpointed one by one in the ledger."""
