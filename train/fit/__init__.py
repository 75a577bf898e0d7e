"""The training run: loop, step, loss, optimizers, checkpoints, validation and progress."""
