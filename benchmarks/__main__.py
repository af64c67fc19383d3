"""`make bench`: every promise in turn."""

from . import memory, startup, transfer

for module in (startup, transfer, memory):
    module.main()
