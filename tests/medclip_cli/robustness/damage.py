"""Ways in which bytes and texts arrive broken; every one follows from the random generator it is given."""

import json

# What a name, a caption or a cell may hold that somebody did not think of.
HOSTILE_TEXTS = (
    "",
    " ",
    "\t",
    "-",
    "--json",
    "-k",
    "a\nb",
    "a\r\nmedclip: all is well",
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31m",
    "bell\x07back\x08\x7f",
    "\u202egnp.txt",
    "\ud800 lone",
    "\udcff\udcfe",
    "\ufeffmark",
    "nul\x00nul",
    "'; DROP TABLE--",
    '"quoted"',
    "<script>alert(1)</script>",
    "{{7*7}} ${HOME} %s %n {0}",
    "[bold red]markup[/]",
    "[/nothing]",
    "../../../../etc/passwd",
    "/dev/null",
    "=1+1",
    "é" * 300,
    "x" * 5000,
    "🩻" * 80,
    "NaN",
    "1e999",
    "null",
    "\u0000\u0001\u0002",
)
# What stands in data where something else was promised.
HOSTILE_VALUES = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [None],
    {"": None},
    [1, "a", None],
    *HOSTILE_TEXTS,
)


def damage(data, rng):
    """Break bytes: cut them short, turn bits over, put something in, take something out, or mix."""
    ways = (_cut, _flip, _flip, _insert, _remove, _blank, _repeat, _swap, _extreme)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = rng.choice(ways)(bytearray(data), rng)
    return bytes(data)


def damage_head(data, rng, length=64):
    """Break only the first bytes, where the sizes and counts of most formats stand."""
    return damage(data[:length], rng) + data[length:]


def _at(data, rng):
    return rng.randrange(len(data) + 1)


def _cut(data, rng):
    return data[: _at(data, rng)]


def _flip(data, rng):
    for _ in range(rng.choice((1, 1, 8, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _insert(data, rng):
    at = _at(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 4, 100))) + data[at:]


def _remove(data, rng):
    at = _at(data, rng)
    return data[:at] + data[at + rng.choice((1, 4, 100)) :]


def _blank(data, rng):
    at = _at(data, rng)
    length = min(len(data) - at, rng.choice((4, 64, 512)))
    return data[:at] + bytes(length) + data[at + length :]


def _repeat(data, rng):
    at = _at(data, rng)
    return data[:at] + data[at : at + 200] * rng.choice((2, 20)) + data[at:]


def _swap(data, rng):
    at = _at(data, rng)
    return data[at:] + data[:at]


def _extreme(data, rng):
    """Put a number at the edge of its type where some number may stand."""
    at = _at(data, rng)
    number = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff", b"\x80\0\0\0"))
    return data[:at] + number + data[at + len(number) :]


def damage_value(value, rng):
    """Break plain data somewhere in its depth: another type, another value, a key less, a key more."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        way = rng.random()
        if way < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if way < 0.2:
            return {**value, rng.choice(HOSTILE_TEXTS): rng.choice(HOSTILE_VALUES)}
        return {**value, key: damage_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], damage_value(value[at], rng), *value[at + 1 :]]
    return rng.choice(HOSTILE_VALUES)


def damage_json(value, rng):
    """Break a JSON document: sometimes its bytes, mostly what it says."""
    if rng.random() < 0.3:
        return damage(json.dumps(value).encode(), rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = damage_value(value, rng)
    return json.dumps(value, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")
