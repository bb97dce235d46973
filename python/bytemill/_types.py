"""Types of arguments and results."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TieBreak: TypeAlias = Literal["lexicographic", "lowest_id", "huggingface"]
"""Of several pairs with the highest count, which is merged first."""

SpecialChoice: TypeAlias = Literal["all"] | Collection[str]
"""Special tokens: some of the vocabulary's, or all."""


class HasToList(Protocol):
    """An array: NumPy's, torch's."""

    def tolist(self) -> Any:
        """Its items."""


Ids: TypeAlias = Iterable[int] | HasToList
"""Ids: a list or another iterable of ints, a NumPy array or a torch tensor of one dimension."""

IdArray: TypeAlias = "npt.NDArray[np.uint16] | npt.NDArray[np.uint32]"
"""Ids in a NumPy array: uint16 if the vocabulary's `n_vocab` is at most 65,536, else uint32."""
