"""Experiments: short runs that compare choices, and the speed of training."""
