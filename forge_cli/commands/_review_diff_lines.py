"""The lines of `forge review diff` beneath its remarks: what changed, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..output import align, clean, count_text, size_text

_SIGNS = {"added": "+", "removed": "-", "changed": "~", "renamed": ">"}
_WIDE = 60  # of one value; the document has more of it
_Value = Mapping[str, Any]


def lines_of(document: _Value, most: int | None) -> Iterator[str]:
    """Every part that has something to say; ``most`` lines of each list, None for all."""
    yield from _part("what the publisher states", _changes(document["facts"]), most)
    yield from _files(document["files"], most)
    for each in document["models"]:
        yield from _model(each, most)
    for each in document["tokenizers"]:
        yield from _part(clean(each["path"]), _tokenizer(each), most)
    for each in document["configs"]:
        yield from _part(clean(each["path"]), _changes(each["keys"]), most)
    for each in document["requirements"]:
        rows = _changes(each["requirements"], name="name")
        yield from _part(f"{clean(each['path'])}: requirements", rows, most)
    for each in document["wheels"]:
        yield from _part(clean(each["path"]), _wheel(each), most)
    for each in document["python"]:
        yield from _part(clean(each["path"]), _python(each), most)
    for each in document["cards"]:
        yield from _part(clean(each["path"]), _card(each), most)


def _part(title: str, rows: Sequence[Sequence[str]], most: int | None) -> Iterator[str]:
    if not rows:
        return
    yield title
    shown = rows if most is None else rows[:most]
    for line in align(shown):
        yield f"  {line}"
    if len(shown) < len(rows):
        yield f"  … and {len(rows) - len(shown)} more (--all)"


def _changes(changes: Sequence[_Value], name: str = "key") -> list[list[str]]:
    return [
        [
            _SIGNS[_how(each)],
            clean(each[name]),
            f"{_shown(each['old'])} → {_shown(each['new'])}",
        ]
        for each in changes
    ]


def _how(change: _Value) -> str:
    if change["old"] is None:
        return "added"
    return "removed" if change["new"] is None else "changed"


def _shown(value: str | None) -> str:
    if value is None:
        return "nothing"
    text = clean(value)
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def _files(files: _Value, most: int | None) -> Iterator[str]:
    rows = [
        [_SIGNS[how], clean(each["path"]), size_text(each["size"])]
        for how in ("added", "removed")
        for each in files[how]
    ]
    rows += [
        ["~", clean(each["path"]), _sizes(each["old"]["size"], each["new"]["size"])]
        for each in files["changed"]
    ]
    rows += [
        [">", clean(each["old"]), f"→ {clean(each['new'])}, same content"]
        for each in files["renamed"]
    ]
    counts = [f"{len(files[how])} {how}" for how in _SIGNS if files[how]]
    title = ", ".join([*counts, f"{files['unchanged']} as before"])
    yield f"files: {title}"
    yield from list(_part("", rows, most))[1:]


def _sizes(old: int, new: int) -> str:
    return size_text(new) if old == new else f"{size_text(old)} → {size_text(new)}"


def _model(model: _Value, most: int | None) -> Iterator[str]:
    counts = [f"{len(model[how])} {how}" for how in ("added", "removed", "changed") if model[how]]
    title = ", ".join([*counts, f"{model['unchanged']} as before"])
    before, after = model["parameters"]["old"], model["parameters"]["new"]
    size = f"{after:,} parameters" if before == after else f"{before:,} → {after:,} parameters"
    rows = [
        [_SIGNS[how], clean(each["name"]), _tensor(each)]
        for how in ("added", "removed")
        for each in model[how]
    ]
    rows += [["~", clean(each["name"]), _moved(each)] for each in model["changed"]]
    rows += _changes(model.get("metadata", ()))
    yield f"{clean(model['path'])}: {count_text(_tensors(model), 'tensor')}, {size}; {title}"
    yield from list(_part("", rows, most))[1:]


def _tensors(model: _Value) -> int:
    return len(model["added"]) + len(model["changed"]) + int(model["unchanged"])


def _tensor(tensor: _Value) -> str:
    return f"{clean(tensor['dtype'])} {'×'.join(map(str, tensor['shape'])) or 'scalar'}"


def _moved(tensor: _Value) -> str:
    before, after = _tensor(tensor["old"]), _tensor(tensor["new"])
    parts = [after if before == after else f"{before} → {after}"]
    if "max_abs" in tensor:
        relative = tensor["relative_l2"]
        how = "from zero" if relative is None else f"moved by {float(relative):.2%}"
        parts.append(f"{how}, at most {float(tensor['max_abs']):.3g}")
    elif before == after:
        parts.append("other bytes")
    if odd := tensor.get("not_finite"):
        parts.append(f"NaN or infinite: {odd['old']} → {odd['new']}")
    return "; ".join(parts)


def _tokenizer(value: _Value) -> list[list[str]]:
    rows = [
        [sign, count_text(value[name]["count"], noun) + more, _first(value[name]["first"])]
        for name, sign, noun, more in (
            ("added", "+", "token", ""),
            ("removed", "-", "token", ""),
            ("renumbered", "~", "token", " with another number"),
            ("merges_added", "+", "merge", ""),
            ("merges_removed", "-", "merge", ""),
        )
        if name in value
    ]
    if value.get("merges_reordered"):
        rows.append(["~", "merges", "in another order"])
    rows += _changes(value.get("special", ()), name="token")
    rows += _changes(value.get("keys", ()))
    return rows + _card(value)


def _first(names: Sequence[str]) -> str:
    return "  ".join(clean(repr(each)) for each in names[:6]) + (" …" if len(names) > 6 else "")


def _wheel(value: _Value) -> list[list[str]]:
    rows = [[">", clean(value["old_path"]), "its version before"]] if "old_path" in value else []
    rows += [
        [_SIGNS[how], count_text(value[how]["count"], "file"), ", ".join(
            clean(each) for each in value[how]["first"][:4]
        ) + (" …" if value[how]["count"] > 4 else "")]
        for how in ("added", "removed", "changed")
        if how in value
    ]  # fmt: skip
    return rows + _changes(value.get("entry_points", ()))


def _python(value: _Value) -> list[list[str]]:
    return [
        [_SIGNS[how], what, ", ".join(clean(each) for each in value[what][how])]
        for what in ("imports", "calls")
        for how in ("added", "removed")
        if value.get(what, {}).get(how)
    ]


def _card(value: _Value) -> list[list[str]]:
    rows = []
    for each in value.get("sections", ()):
        counts = f"{count_text(each['lines_added'], 'line')} came, {each['lines_removed']} went"
        rows.append([_SIGNS[each["change"]], clean(each["section"]), counts])
        for sign, name in (("+", "first_added"), ("-", "first_removed")):
            rows += [["", f"  {sign} {clean(line[:90])}"] for line in each[name][:3]]
    return rows
