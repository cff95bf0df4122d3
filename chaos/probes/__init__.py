"""What this machine can do, found out by trying; each probe that fails carries the line that mends it.

`namespaces` makes some, `inside` uses a lab, `tools` asks programs, `bpf` loads a program into the kernel. Nothing is
changed outside namespaces of our own.
"""
