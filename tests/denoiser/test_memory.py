"""Memory for large tensors is reused while the network works, and given back after it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# Runs a network three times, as the heap still grows in the second run. Prints the page faults of the last run, and the
# megabytes that the process has grown by, before and after the release.
SCRIPT = """
import resource, sys
import torch
from denoiser.memory import release_memory, tune_allocator
from denoiser.model import NETWORKS, DenoisingAutoencoder

def megabytes():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1000

if sys.argv[1] == "tuned":
    tune_allocator()
torch.set_num_threads(1)
network = DenoisingAutoencoder(NETWORKS["residual"]).eval().to(memory_format=torch.channels_last)
picture = torch.rand(1, 3, 768, 768).contiguous(memory_format=torch.channels_last)
with torch.inference_mode():
    network(picture[..., :64, :64])
    before = megabytes()
    for _ in range(3):
        started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        network(picture)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - started
print(faults, megabytes() - before, end=" ")
release_memory()
print(megabytes() - before)
"""


def measured(tuned):
    ended = subprocess.run([sys.executable, "-c", SCRIPT, tuned], capture_output=True, text=True, check=True)
    return map(float, ended.stdout.split())


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_is_reused_by_later_runs_and_released_after_it():
    faults, held, left = measured("tuned")
    plain_faults, _, _ = measured("plain")
    assert plain_faults > 10_000 and plain_faults > 10 * faults
    assert held > 100 and left < 40
