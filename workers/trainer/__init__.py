"""Trainings and sweeps, from a request to a registered model: what `lookalike train` and a started job both do.

`train` and `sweep` perform a request and tell a `Report` how far they are: a terminal's, or a job record's.
`python -m workers.trainer JOB` performs the request that stands in a job record.
"""
