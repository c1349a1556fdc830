"""The tabular evaluator: a benchmark looked up."""
