"""Finding components in whatever script somebody writes: one interface, an index on each database.

`base` is what the pages and the machine-readable addresses use; `folding` and `sounds` bring
scripts and spellings together. The index is derived: it may be thrown away at any time, and
`rebuild` makes it again.
"""
