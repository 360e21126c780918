"""How long videos last, by the presentation timestamps of their packets: nothing is decoded.

Durations in headers are missing in files of browser recorders and wrong in others; the packets of the video track tell
when each picture is shown and for how long.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from abawkit.media.video import open_media, unreadable, video_stream


@dataclass(frozen=True, eq=False)
class PacketTimes:
    """When the pictures of a video are shown, by its packets.

    Attributes:
        times: Seconds from the first picture, float64 [N], never decreasing, N at least 1.
        last: For how long the last picture is shown (s): the duration of its packet, else the median distance of two
            pictures; None where neither is known, which takes a video of a single picture.
    """

    times: NDArray[np.float64]
    last: float | None

    @property
    def seconds(self) -> float | None:
        """From the first picture to the end of the last one (s); None where the end is not known, or is the start."""
        return None if self.last is None else float(self.times[-1]) + self.last or None


@dataclass(frozen=True)
class Duration:
    """How long a video lasts.

    Attributes:
        seconds: Greater than 0; None: neither its packets nor its header tell.
        reason: Why this is not by the timestamps; None: it is.
    """

    seconds: float | None
    reason: str | None


def packet_times(path: Path) -> PacketTimes | None:
    """Returns when the pictures of the best video track are shown; None where no packet has a timestamp.

    Packets that the file itself says are not to be shown (edit lists) are left out; those that could not be decoded
    are not. Where the file ends early or breaks off, these are the packets up to there.

    Raises:
        MediaError: The file cannot be opened, has no video track, or no packet of it can be read.
    """
    with open_media(path) as container:
        return _times(container, _stream(container, path), path)


def duration(path: Path) -> Duration:
    """Returns how long the video lasts by its timestamps; by its header, with the reason, where it has none.

    Raises:
        MediaError: As :func:`packet_times`.
    """
    with open_media(path) as container:
        duration = container.duration
        header = duration / av.time_base if duration is not None and duration > 0 else None
        found = _times(container, _stream(container, path), path)
    if found is None:
        reason = "no packet of the video has a timestamp"
    elif found.seconds is None:
        reason = "it has a single picture and does not say for how long it is shown"
    else:
        return Duration(found.seconds, None)
    return Duration(header, reason if header else f"{reason}, and its header has no duration")


def _stream(container: Any, path: Path) -> Any:
    stream = video_stream(container)
    if stream is None:
        raise unreadable(path, "has no video track that can be decoded", None)
    return stream


def _times(container: Any, stream: Any, path: Path) -> PacketTimes | None:
    shown: list[tuple[int, int]] = []
    packets = 0
    problem: av.FFmpegError | None = None
    try:
        for packet in container.demux(stream):
            packets += packet.size > 0
            if packet.size and packet.pts is not None and not packet.is_discard:
                shown.append((packet.pts, packet.duration or 0))
    except av.FFmpegError as error:  # what came before it counts
        problem = error
    if not packets:
        raise unreadable(path, "no packet of the video can be read", problem)
    if not shown:
        return None
    shown.sort()
    first, unit = shown[0][0], float(stream.time_base)
    times = np.array([(pts - first) * unit for pts, _ in shown], dtype=np.float64)
    last = shown[-1][1] * unit
    if last <= 0:
        last = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return PacketTimes(times, last if last > 0 else None)
