"""connect-chaos: reproduce each way a TCP connect can end, and prove what the client surfaced.

Importing this package imports nothing else; see ARCHITECTURE.md for the layers.
"""

__version__ = "0.1.0"
