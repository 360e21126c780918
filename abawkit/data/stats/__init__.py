"""The paper's data tables for this copy of the data."""
