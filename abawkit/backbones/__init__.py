"""Transformers models by id or local folder: find, load, preprocess, forward. The only importer of transformers.

Torch and transformers are imported inside functions, so that asking what a model is (:mod:`abawkit.backbones.folder`,
:class:`abawkit.backbones.audio.FrameGrid`) costs nothing.
"""
