"""A vendor with a limiter of its own that nobody tuned the product to, over real HTTP, and what it counts.

`limiters` are what vendors have; `vendor` puts one before a simulator and lets the line be slow; `fleet` runs worker
processes against it; `virtual` asks the same of a ledger in virtual time. `python -m tests.emulator` is the long form.
"""
