"""A whole simulated workspace: labels, feature stores, groups and hidden test labels with the paper's statistics."""
