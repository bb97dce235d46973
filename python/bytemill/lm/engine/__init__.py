"""Many answers at a time from one model: rows join and leave a running batch at any step.

`engine` decides what is computed next, a step at a time; `worker` has a thread that does so, and
`pool` several of them. `slots` is the memory of the running rows, `prefixes` that of earlier ones;
`rows` says what a row is, and `pieces` makes text of what it writes.
"""
