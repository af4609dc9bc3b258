"""Raw logs → `Dataset(histories, items)`, and batches as a pure function of the step."""
