"""Training, measuring and publishing the networks of `denoiser`: `python -m train fit | evaluate | push`."""
