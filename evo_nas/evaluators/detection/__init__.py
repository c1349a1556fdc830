"""The trainer of detectors: from a merging graph, or cells of a backbone, to average precision."""
