"""Pages of results that need nothing from outside."""
