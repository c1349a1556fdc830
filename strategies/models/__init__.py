"""What strategies learn: the controller and the surrogates."""
