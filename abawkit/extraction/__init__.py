"""From clips to feature stores: what is to be done, the pipeline, and the list of failures."""
