"""Bytes to arrays with timestamps: the only package that imports PyAV and OpenCV."""
