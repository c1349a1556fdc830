"""The widths of a network: its groups of channels, what they cost, and the network with other widths."""
