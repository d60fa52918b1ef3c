"""The tables of the plan: which cells a table has, with its claims."""
