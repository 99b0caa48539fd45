"""Where Django looks for this room's commands."""
