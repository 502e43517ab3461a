"""`make bench`: everything that is compared with peers and with what the machine could do, in under 20 minutes.

    python -m benchmarks.suite                     all parts, then the page
    python -m benchmarks.suite --only store,start  some parts; the page keeps the others' last results
    python -m benchmarks.suite --missing           those that this commit has no results of
    python -m benchmarks.suite --only none         the page again, of the results that are there

A part is a module with a function `measure`, which runs in a process of its own and returns a `record.Found`. It is
kept in benchmarks/results/PART.json. `page` makes docs/measured.md and its plots of these files alone.
"""
