"""The tables of the plan: the cells and the claims of each table."""
