"""Decoding in processes that can be ended: how long an image may take and how much memory it may need is enforced.

A decoder for hostile bytes is C code that nothing inside a process can stop. So images are decoded in children of a
small process, the nursery, which has Pillow loaded and forks one in a few milliseconds. The kernel ends a child at its
deadline of processor time and refuses it memory beyond its share; the others go on. All of them end with the process
that started them.

    work.py      what is to be done with an image, and doing it in this process
    memory.py    how much memory an image may need, and sharing out what there is
    nursery.py   the process that forks children; runs alone
    child.py     a child: takes work, gives answers
    decoder.py   one child, seen from outside
    pool.py      all children of a process: a lane for bulk work, one for searches, and one for what takes long
"""

from ml.decoders.pool import Decoders, Unfinished
from ml.decoders.work import Prepared, Work

__all__ = ["Decoders", "Prepared", "Unfinished", "Work"]
