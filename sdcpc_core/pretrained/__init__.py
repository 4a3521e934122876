"""Public weights in other projects' layouts."""
