"""The orthogonal factor of a matrix by Newton-Schulz iterations: the step of Muon.

A matrix M = U S V^T becomes U V^T, roughly: an odd polynomial of M changes its singular values and
nothing else, and a few quintics, one inside the other, carry all but the smallest of them near 1.
Each quintic is the best possible one for the interval that those before it leave (Amsel et al.
2025, "The Polar Express", section 3), so few steps suffice, and how small a singular value may be
is known beforehand: see `reach`.
"""

from __future__ import annotations

import functools
import math
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

Coefficients = tuple[tuple[float, float, float], ...]
Quintics: TypeAlias = Literal["best", "polar-express"]
Divisor: TypeAlias = Literal["bound", "norm"]

POLAR_EXPRESS: Final[Coefficients] = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""Five quintics by Amsel et al.'s method for [1e-3, 1], with a reserve of 2 %; nanochat's."""
_NORM_RESERVE: Final = 1.01

BAND: Final = 0.15
"""Singular values within `reach` of the greatest end this close to 1, rounding aside."""
MOST_STEPS: Final = 12
_MARGIN: Final = 1.02
# More would bring singular values down to where rounding drowns them, before they go up.
_MOST_IN_BFLOAT16: Final = 5
_TINY: Final = 1e-30
_TORCHS_EPS: Final = 1e-7


def orthogonalize(
    matrix: Tensor,
    steps: int = 8,
    *,
    coefficients: Coefficients | None = None,
    quintics: Quintics = "best",
    divisor: Divisor = "bound",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """U V^T of each matrix U S V^T, nearly: singular values end in [0.85, 1.15].

    That holds, by default, for those above `reach(steps)` times the fourth root of the sum of all
    singular values' fourth powers, up to rounding: in bfloat16 a few percent, and the smallest are
    noise.
    Those below are multiplied by about 1 / `reach(steps)`; a matrix of zeros stays one.

    Args:
        matrix: (..., rows, columns); leading dimensions are a batch.
        steps: How many quintics, 1 to 12; in bfloat16 five at most, as more would gain nothing.
            Each costs three products of matrices.
        coefficients: The quintics' (a, b, c), for a x + b x^3 + c x^5; the best ones if None. With
            them `steps` and the figures above do not count, and the operations and their rounding
            are those of torch.optim.Muon: x is divided by its norm alone, in `dtype`.
        quintics: "best" for that many steps, or the first of `POLAR_EXPRESS`.
        divisor: What x is divided by beforehand, so that no singular value is above 1: "bound", a
            close bound on the greatest of them, or "norm", its norm times 1.01.
        dtype: What to compute in: bfloat16 if None and on CUDA, float32 if None elsewhere.

    Returns:
        A tensor of `matrix`'s shape, in the dtype that was computed in.

    Raises:
        ValueError: `matrix` has fewer than two dimensions, `steps` is out of range, or `quintics`
            or `divisor` is something else, or `coefficients` are not quintics.
    """
    if matrix.ndim < 2:
        raise ValueError(f"matrix of shape {tuple(matrix.shape)}: it must have two dimensions")
    if dtype is None:
        dtype = torch.bfloat16 if matrix.is_cuda else torch.float32
    check_steps("steps", steps)
    if coefficients is not None:
        coefficients = check_quintics("coefficients", coefficients)
        flat = matrix.reshape(-1, *matrix.shape[-2:])
        found = [_with_coefficients(one, coefficients, dtype) for one in flat]
        return torch.stack(found).reshape(matrix.shape) if found else matrix.to(dtype)
    check_choice("divisor", divisor, get_args(Divisor))
    chosen = _quintics(quintics, steps, dtype)
    is_tall = matrix.shape[-2] > matrix.shape[-1]
    x: Tensor = (matrix.mT if is_tall else matrix).float()
    norm = x.norm(dim=(-2, -1), keepdim=True).clamp(min=_TINY)
    if divisor == "norm":
        x = (x / (norm * _NORM_RESERVE)).to(dtype)
        gram = x @ x.mT
    else:
        x = (x / norm).to(dtype)
        gram = x @ x.mT
        # A bound on the greatest singular value that is closer than the norm of x, for nothing.
        bound = gram.float().norm(dim=(-2, -1), keepdim=True).sqrt().clamp(min=1e-3) * _MARGIN
        x, gram = (x / bound).to(dtype), (gram / bound.square()).to(dtype)
    for i, (a, b, c) in enumerate(chosen):
        if i:
            gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if is_tall else x


def _quintics(name: str, steps: int, dtype: torch.dtype) -> Coefficients:
    if check_choice("quintics", name, get_args(Quintics)) == "polar-express":
        return POLAR_EXPRESS[:steps]
    most = _MOST_IN_BFLOAT16 if dtype == torch.bfloat16 else MOST_STEPS
    return newton_schulz(min(steps, most))


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """`value` if it is one of the choices, or ValueError."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}: it must be one of {', '.join(choices)}")
    return value


def check_quintics(name: str, value: Coefficients) -> Coefficients:
    """`value` as tuples if it is one triple of finite numbers or more, or ValueError."""
    try:
        found = tuple((float(a), float(b), float(c)) for a, b, c in value)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if not found or not all(math.isfinite(number) for quintic in found for number in quintic):
        raise ValueError(
            f"{name}={value!r}: it must be a triple of finite numbers for each step, such as "
            "((3.4445, -4.775, 2.0315),) * 5"
        )
    return found


def _with_coefficients(matrix: Tensor, coefficients: Coefficients, dtype: torch.dtype) -> Tensor:
    """Of one matrix, by the operations of torch.optim.Muon in their order, for the same bits."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.to(dtype)
    x = x.T if is_tall else x
    x = x / x.norm().clamp(min=_TORCHS_EPS)
    for a, b, c in coefficients:
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def reach(steps: int) -> float:
    """The least singular value, as a share of the greatest possible, that `steps` bring to 1."""
    return _best(check_steps("steps", steps))[0]


def newton_schulz(steps: int) -> Coefficients:
    """The quintics (a, b, c) that bring the widest interval [reach, 1] to within `BAND` of 1."""
    return _best(check_steps("steps", steps))[1]


def check_steps(name: str, steps: int) -> int:
    """`steps` if that many can be taken, or ValueError."""
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"{name}={steps!r}: it must be an integer from 1 to {MOST_STEPS}")
    return steps


@functools.lru_cache(maxsize=MOST_STEPS)
def _best(steps: int) -> tuple[float, Coefficients]:
    low, high = np.log(1e-9), np.log(0.3)
    for _ in range(50):
        middle = (low + high) / 2
        if _composed(float(np.exp(middle)), steps)[1] > BAND:
            low = middle
        else:
            high = middle
    least = float(np.exp(high))
    return least, _composed(least, steps)[0]


def _composed(least: float, steps: int) -> tuple[Coefficients, float]:
    """Quintics for [least, 1], each for where the one before ends, and the last one's error."""
    chosen = []
    low, high, error = least, 1.0, 1.0
    for _ in range(steps):
        quintic, error = _minimax(low, high)
        chosen.append(quintic)
        # Beyond an interval a quintic grows fast: rounding must not carry anything there.
        low, high = (1 - error) / _MARGIN, (1 + error) * _MARGIN
    return tuple(chosen), error


def _minimax(low: float, high: float) -> tuple[tuple[float, float, float], float]:
    """The odd quintic nearest to 1 on [low, high], and its greatest error (Remez's algorithm)."""
    points = np.array([low, low + (high - low) / 4, low + (high - low) * 3 / 4, high])
    a = b = c = error = 0.0
    for _ in range(60):
        # Errors of equal size and changing sign at four points tell the best of three parameters.
        powers = np.stack([points, points**3, points**5, np.array([1.0, -1.0, 1.0, -1.0])], axis=1)
        a, b, c, error = (float(value) for value in np.linalg.solve(powers, np.ones(4)))
        root = np.sqrt(9 * b * b - 20 * a * c)
        extrema = np.sqrt((np.array([-root, root]) - 3 * b) / (10 * c))
        moved = np.array([low, *extrema, high])
        if np.allclose(moved, points, rtol=1e-12, atol=0.0):
            break
        points = moved
    return (a, b, c), abs(error)
