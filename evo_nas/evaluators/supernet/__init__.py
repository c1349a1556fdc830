"""The evaluator that judges networks with the weights of a supernet."""
