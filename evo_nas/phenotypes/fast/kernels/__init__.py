"""Kernels in C for the layers that take the time of a small network on the CPU, compiled where they are used."""
