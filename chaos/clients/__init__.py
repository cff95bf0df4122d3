"""The clients: one adapter a file, named by its file. What several need is in files that begin with `_`."""
