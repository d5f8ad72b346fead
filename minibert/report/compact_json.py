"""JSON that people can read and that stays small: a list of numbers or of short lists stands on one line."""

import json


def dump(value):
    """`value` as indented JSON text; innermost lists, and lists of such, a line each."""
    return _dump(value, "") + "\n"


def _dump(value, indent):
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        keys = (json.dumps(str(key), ensure_ascii=False) for key in value)
        items = (f"{deeper}{key}: {_dump(item, deeper)}" for key, item in zip(keys, value.values(), strict=True))
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(deeper + _dump(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
