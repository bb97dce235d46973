"""A sandbox for programs that a model has written.

`run` starts one and waits; `inside` is its first process, which builds the walls (`kernel`,
`calls`) and plays a role (`roles`): a program, or the tests of one, which talk to each other in
plain data (`codec`).
"""

from bytemill.tools.sandbox.run import (
    Limits,
    Outcome,
    SandboxUnavailable,
    available,
    passes_tests,
    run_program,
)

__all__ = [
    "Limits",
    "Outcome",
    "SandboxUnavailable",
    "available",
    "passes_tests",
    "run_program",
]
