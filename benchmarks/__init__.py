"""What fastconv is timed on, and the ways of timing it.

`shapes`   the named cases, one line each
`timed`    what asv's timings of a case share
`bench_*`  what asv runs: ``asv run`` in the root of the repository
`compare`  fastconv beside its peers in one run: ``python benchmarks/compare.py``
`peers`    one adapter for each library that `compare` knows
`backward` those of ``compare --backward``, which times gradients
`rounds`   how `compare` takes its times
`memory`   working memory, measured in a process of its own
`report`   `compare`'s tables and picture
`accuracy` rounding errors: the tables of docs/accuracy.md
"""
