"""What a challenge is: targets in official order, score, id rule, folder names, counts, submission form.

Everything that differs between the clip-level tracks of the workshop is in one :class:`Task`; the rest of the
package reads it from there. :data:`EMI` is the Hume-ABAW Emotional Mimicry Intensity challenge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Score = Literal["mean_pearson", "macro_f1"]
#: The clips that a run is scored on: the validation clips of its split, or the test clips of the challenge.
Side = Literal["valid", "test"]
SIDES: tuple[Side, ...] = ("valid", "test")

_MEDIA_SUFFIX = re.compile(r"\.(mp4|mp3|mkv|mov|mpg|avi|webm|wav|flac|m4a|pkl|txt|csv|npy)$", re.IGNORECASE)


@dataclass(frozen=True)
class IdRule:
    """What a clip id looks like, and which damaged forms of it are understood.

    Attributes:
        digits: Numeric ids are zero-padded to this many digits; None: ids are names.
        pattern: What a whole id has to match. It admits no separator and no dot, so an id can never leave the
            folder it is joined to.
        example: An id to show in messages.
    """

    digits: int | None = 5
    pattern: str = r"[0-9]{5}"
    example: str = "00000"

    def is_id(self, text: str) -> bool:
        """Whether ``text`` is an id in its official form."""
        return re.fullmatch(self.pattern, text) is not None

    def read(self, text: str) -> tuple[str, str | None]:
        """Returns the official id that ``text`` means, and what had to be corrected (None: nothing).

        Raises:
            ValueError: ``text`` is not an id, whatever one does to it.

        >>> IdRule().read("00012"), IdRule().read("12.0")
        (('00012', None), ('00012', "'.0' appended, lost zero padding"))
        >>> IdRule().read("../../x")
        Traceback (most recent call last):
        ...
        ValueError: not a clip id
        """
        if self.is_id(text):
            return text, None
        fixes: list[str] = []
        value = text.strip()
        if value != text:
            fixes.append("spaces around it")
        bare = _MEDIA_SUFFIX.sub("", value)
        if bare != value:
            fixes.append(f"file name extension '{value[len(bare) :]}'")
            value = bare
        if self.digits is not None:
            if re.fullmatch(r"[0-9]+\.0+", value):
                value = value.split(".")[0]
                fixes.append("'.0' appended")
            if re.fullmatch(r"[0-9]+", value) and len(value) < self.digits:
                value = value.zfill(self.digits)
                fixes.append("lost zero padding")
        if fixes and self.is_id(value):
            return value, ", ".join(fixes)
        raise ValueError("not a clip id")


@dataclass(frozen=True)
class Folders:
    """Names of the folders and files that the organisers use, relative to the challenge folder.

    The modality folders may lie in the challenge folder itself and in each of ``test``.
    """

    video: str = "raw"
    audio: str = "audio"
    faces: str = "face_images"
    text: str = "text"
    openface: str = "openface"
    vit: str = "vit"
    wav2vec2: str = "wav2vec2"
    train_csv: tuple[str, ...] = ("train_split.csv",)
    valid_csv: tuple[str, ...] = ("valid_split.csv", "val_split.csv")
    test_csv: tuple[str, ...] = ("test_split.csv",)
    test: tuple[str, ...] = ("test_data", "test")


@dataclass(frozen=True)
class SubmissionForm:
    """What the leaderboard accepts.

    Attributes:
        header: Whether the first row names the columns.
        values: ``intensity``: one number per target; ``label``: 0 or 1 per target (a prediction ≥ .5 is 1).
        decimals: Digits after the point of an intensity.
        entries: How many files a team may submit (None: any number).
    """

    header: bool = True
    values: Literal["intensity", "label"] = "intensity"
    decimals: int = 6
    entries: int | None = 5


@dataclass(frozen=True)
class Task:
    """One clip-level challenge track.

    Attributes:
        name: What the user types (``task = "emi"``).
        title: What a page or a table says.
        targets: Target names in the official order; the label columns of every CSV.
        score: How the leaderboard scores: ``mean_pearson`` (Pearson r per target over the whole split, averaged)
            or ``macro_f1`` (binary targets).
        value_range: Lowest and highest value of a label and of a submitted intensity.
        id_column: Header of the id column.
        counts: Official number of clips per split (``train``, ``valid``, ``test``), where known.
        most_raters: Labels are shares of the votes of at most so many raters; None: they are not votes.
    """

    name: str
    title: str
    targets: tuple[str, ...]
    score: Score = "mean_pearson"
    value_range: tuple[float, float] = (0.0, 1.0)
    id_column: str = "Filename"
    ids: IdRule = field(default_factory=IdRule)
    folders: Folders = field(default_factory=Folders)
    counts: Mapping[str, int] = field(default_factory=dict)
    submission: SubmissionForm = field(default_factory=SubmissionForm)
    most_raters: int | None = None

    @property
    def header(self) -> tuple[str, ...]:
        """The columns of a label file and of a submission, in order."""
        return (self.id_column, *self.targets)

    def official_size(self, train: int, valid: int) -> bool:
        """Whether so many labelled clips are the official data (within 5 %: teams lose a few files)."""
        official = self.counts.get("train", 0) + self.counts.get("valid", 0)
        return official > 0 and abs(train + valid - official) <= 0.05 * official


EMI = Task(
    name="emi",
    title="Hume-ABAW Emotional Mimicry Intensity",
    targets=("Admiration", "Amusement", "Determination", "Empathic Pain", "Excitement", "Joy"),
    counts={"train": 8072, "valid": 4588, "test": 4586},
    most_raters=20,
)

TASKS: Mapping[str, Task] = {EMI.name: EMI}
