"""How many clips train and how many validate, as people write it: ``4:1``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from abawkit.errors import UsageError


@dataclass(frozen=True)
class Ratio:
    """Training clips to validation clips, in lowest terms."""

    train: int
    valid: int

    @classmethod
    def parse(cls, text: str) -> Ratio:
        """Returns the ratio that ``text`` means.

        Raises:
            UsageError: ``text`` is not two whole numbers above zero with a colon between them.

        >>> str(Ratio.parse("4:1")), str(Ratio.parse("80:20"))
        ('4:1', '4:1')
        """
        match = re.fullmatch(r"\s*([0-9]{1,6})\s*:\s*([0-9]{1,6})\s*", text)
        train, valid = (int(match[1]), int(match[2])) if match else (0, 0)
        if not train or not valid:
            raise UsageError(
                "this is not a ratio",
                got=repr(text),
                expected="training clips to validation clips, such as 4:1",
            )
        common = math.gcd(train, valid)
        return cls(train // common, valid // common)

    def __str__(self) -> str:
        return f"{self.train}:{self.valid}"

    def training_clips(self, total: int) -> int:
        """Returns how many of ``total`` clips are for training, rounded half up.

        >>> Ratio(4, 1).training_clips(12660)
        10128
        """
        whole = self.train + self.valid
        return (2 * total * self.train + whole) // (2 * whole)

    def refuse_unless_reachable(self, total: int, kept: int) -> None:
        """Raises when no split of the clips has this ratio.

        Args:
            total: Number of labelled clips.
            kept: How many of them have to stay in training; 0: all may be on either side.

        Raises:
            UsageError: A side would be empty, or kept clips would have to leave; the message names usual ratios that
                can be reached.
        """
        wanted = self.training_clips(total)
        if max(1, kept) <= wanted < total:
            return
        usual = [str(OFFICIAL)]
        usual += [str(ratio) for ratio in _USUAL if max(1, kept) <= ratio.training_clips(total) < total]
        if wanted >= total:
            why = "no clip would be left for validation"
        else:
            why = "training clips would have to leave" if kept else "no clip would be left for training"
        limit = f"a ratio above {kept}:{total - kept}, such as " if kept else ""
        raise UsageError(
            f"this ratio cannot be reached: {why}",
            got=f"{self} of {total} clips" + (f", {kept} of them kept in training" if kept else ""),
            expected=f"{limit}{', '.join(usual)} (2:1 is the official split)",
            todo=f"abawkit resplit --ratio {usual[-1] if wanted >= total else usual[0]}",
        )


#: The paper's name for the organisers' own split, which really is 1.76:1.
OFFICIAL = Ratio(2, 1)

_USUAL = (Ratio(3, 1), Ratio(4, 1), Ratio(5, 1), Ratio(9, 1))
