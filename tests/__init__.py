"""Tests of connect-chaos. Those that build real labs say so by `slow(reason)` where they must take long."""
