"""`umtfss serve`: a page on this machine to show objects and look at what is found."""
