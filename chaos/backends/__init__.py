"""Where labs come from: each backend has one method, `start(setting) -> Lab`, a context manager."""
