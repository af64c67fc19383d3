"""Finding components, whatever script somebody writes in: one interface, an index for each database.

`base` is what the pages and the machine-readable addresses use; what folds scripts together is in
`folding`. The index is derived: it may be thrown away at any time, and `rebuild` makes it again.
"""
