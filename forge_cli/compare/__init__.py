"""What changed between two releases of an AI component, for the person who reviews the second.

    sides       where the bytes of a release come from: a folder, or ranges of the registry's blobs
    files       added, removed, changed, renamed; which of them are code or run code on loading
    models      tensors of safetensors and GGUF, by name, over all shards; `pairs` finds those that
                changed, `values` measures how far
    tokens      vocabularies, merges, special tokens, chat templates
    structured  keys of JSON files
    python      imports and telling calls of source files; `wheels` and `requirements` around them
    cards       sections of Markdown files
    facts       what ``forge.toml`` says: licence, risk class, languages, tasks, requirements
    document    all of that in one deterministic document, and its digest

Every byte is a publisher's: nothing is executed, unpacked to the disk or followed; sizes, counts
and depths have limits, and what is beyond them is named as not compared. Nobody may take that for
"unchanged".
"""
