"""`python -m umtfss`."""

from umtfss.cli import app

app()
