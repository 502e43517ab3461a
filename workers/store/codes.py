"""Codes: vectors in a byte or a bit per number, by which searches find candidates that are then compared exactly.

The engine compares the best candidates by their float32 vectors, so similarities and ranks are those of float32. By
int8 a search reads a quarter of the bytes, and so does the building of a graph.
"""

# How many times more candidates than asked for are compared exactly, by kind of code. Of the 10 photos of groceries
# that are nearest to one, int8 finds 86 % alone, 98.1 % with 2.0 and 99.9 % with 4.0, which costs hardly anything.
OVERSAMPLING = {"int8": 4.0, "binary": 4.0}
KINDS = ("auto", "none", *OVERSAMPLING)
# Of float32 vectors, 20,480 of 512 numbers or 8,192 of 1,280: from here on the embedded store builds a graph, in a
# third of the processor time by codes. Below, exact search takes a few milliseconds and a graph gains nothing.
LARGE_BYTES = 40 * 2**20


def chosen(setting: str, count: int, dim: int) -> str:
    """What kind of codes a collection gets: none, int8 or binary.

    Args:
        setting: one of KINDS. "auto" is none for a small collection, which is quick anyway, and int8 for a large one.
        count: how many vectors it holds.
        dim: how many numbers a vector has.
    """
    if setting != "auto":
        return setting
    return "int8" if 4 * count * dim >= LARGE_BYTES else "none"


def needs_graph(unindexed: int, count: int, dim: int, *, is_quiet: bool) -> bool:
    """Whether so many vectors that no graph covers are worth another one: searches compare them one by one.

    Args:
        unindexed: how many those are.
        count: how many there are in all.
        dim: how many numbers a vector has.
        is_quiet: nothing has been written for a while. Otherwise a collection grows by a tenth from graph to graph, so
            that what building takes stays in proportion.
    """
    worth = LARGE_BYTES if is_quiet else max(LARGE_BYTES, 4 * count * dim // 10)
    return 4 * unindexed * dim > worth


def oversampling(setting: str) -> float | None:
    """How many times more candidates are compared exactly; None: whatever there is, it is not used."""
    return OVERSAMPLING.get("int8" if setting == "auto" else setting)
