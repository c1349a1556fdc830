"""The run folder and ``history.db``: who writes them, reads them, locks and repairs them."""
