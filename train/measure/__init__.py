"""Measurements of a denoiser: quality, time and memory, and charts of them."""
