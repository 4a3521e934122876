"""The operators that decide the speed, in plain torch."""
