"""Keys and projects: what may be asked for, by whom, and the listener that takes it."""
