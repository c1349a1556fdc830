"""Where image sets come from: found, fetched, checked."""
