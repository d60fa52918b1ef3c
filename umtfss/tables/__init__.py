"""Tables and claims: from results to numbers, LaTeX, CSV and Markdown."""
