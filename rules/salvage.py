"""Saved state of another version, read as far as it goes. Pure.

Invariant: one value that does not fit costs that value, not what stands beside it.
"""

from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec

T = TypeVar("T")


def salvaged(plain: object, kind: type[T], lost: list[str], path: str = "") -> T:
    """``plain`` (lists, dicts, numbers …) as a ``kind``; what does not fit is left out.

    A field that does not fit gets its default, an item of a list or dict is dropped, and either
    is added to ``lost`` as a path such as ``rule_instances[3]``. Raises msgspec.ValidationError if
    nothing stands in for what does not fit.
    """
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError:
        parts = _parts(plain, kind, lost, path)
        if parts is None:
            raise
        return cast("T", parts)


def _parts(plain: object, kind: Any, lost: list[str], path: str) -> object | None:
    """``plain`` part by part; None if ``kind`` has no parts, or ``plain`` is none of that shape."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(plain, kind, lost, path)
    shape, kinds = get_origin(kind), get_args(kind)
    if shape is list and isinstance(plain, list):
        items = cast("list[object]", plain)
        whole = ((_part(x, kinds[0], lost, f"{path}[{n}]")) for n, x in enumerate(items))
        return [part[0] for part in whole if part is not None]
    if shape is dict and isinstance(plain, dict):
        fields = cast("dict[object, object]", plain)
        pairs = ((key, _part(x, kinds[1], lost, f"{path}[{key}]")) for key, x in fields.items())
        return _keyed({key: part[0] for key, part in pairs if part is not None}, kinds[0], lost)
    return None


def _keyed(parts: dict[object, object], kind: Any, lost: list[str]) -> dict[object, object]:
    keys = {key: _part(key, kind, lost, f"[{key}]") for key in parts}
    return {new[0]: parts[key] for key, new in keys.items() if new is not None}


def _part(plain: object, kind: Any, lost: list[str], path: str) -> tuple[object] | None:
    try:
        return (salvaged(plain, kind, lost, path),)
    except msgspec.ValidationError:
        lost.append(path)
        return None


def _struct(
    plain: object, kind: type[msgspec.Struct], lost: list[str], path: str
) -> msgspec.Struct | None:
    fields = msgspec.structs.fields(kind)
    if kind.__struct_config__.array_like:
        if not isinstance(plain, list):
            return None
        items = cast("list[object]", plain)
        values = {field.name: x for field, x in zip(fields, items, strict=False)}
    elif isinstance(plain, dict):
        named = cast("dict[object, object]", plain)
        values = {f.name: named[f.encode_name] for f in fields if f.encode_name in named}
    else:
        return None
    read: dict[str, object] = {}
    for field in fields:
        where = f"{path}.{field.name}" if path else field.name
        if field.name in values:
            if field.required:
                read[field.name] = salvaged(values[field.name], field.type, lost, where)
            elif part := _part(values[field.name], field.type, lost, where):
                read[field.name] = part[0]
        elif field.required:
            return None
    return kind(**read)
