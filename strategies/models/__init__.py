"""Models that strategies train: the controller and the surrogates."""
