"""Run records: what a training, or an ensemble, leaves behind. Nothing here needs torch."""
