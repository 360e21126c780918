"""What the installed PyAV can decode and encode."""

from __future__ import annotations

import av

#: What challenge clips are made of, and what the demo writes.
DECODERS = ("h264", "hevc", "aac", "mp3")
ENCODERS = ("libx264", "aac", "libmp3lame")


def missing_codecs() -> list[str]:
    """Returns the codecs that abawkit needs and this PyAV lacks, such as ``encoder libx264``."""
    missing = []
    for names, mode in ((DECODERS, "r"), (ENCODERS, "w")):
        for name in names:
            try:
                av.codec.Codec(name, mode)
            except (ValueError, av.error.FFmpegError):
                missing.append(f"{'decoder' if mode == 'r' else 'encoder'} {name}")
    return missing


def versions() -> str:
    """Returns the versions of PyAV and of the FFmpeg in it."""
    return f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"
