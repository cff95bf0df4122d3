"""What runs inside a node: standard library only, imports nothing else of the package.

A module with a function `run(agent, **arguments)` is an operation; its name is the operation's name.
`run` must not block: what takes long forks a child of plain blocking code (see serve.py).
"""
