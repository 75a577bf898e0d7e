"""Memory for large tensors is reused while the network works, and given back after it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# Runs a network. Prints the fewest page faults of a run, since it takes some runs until the heap has stopped
# growing, and the megabytes that the process has grown by, before and after the release.
SCRIPT = """
import resource, sys
from itertools import pairwise
import torch
from denoiser.memory import release_memory, tune_allocator
from denoiser.model import DenoisingAutoencoder, ModelConfig

def megabytes():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1000

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "tuned":
    tune_allocator()
torch.set_num_threads(1)
config = ModelConfig(widths=(64, 16, 16), encoder_blocks=(1, 0, 0), decoder_blocks=(0, 0), estimator_blocks=0)
network = DenoisingAutoencoder(config).eval().to(memory_format=torch.channels_last)
picture = torch.rand(1, 3, 768, 768).contiguous(memory_format=torch.channels_last)
with torch.inference_mode():
    network(picture[..., :64, :64])
    started_with = megabytes()
    counts = [page_faults()]
    for _ in range(int(sys.argv[2])):
        network(picture)
        counts.append(page_faults())
print(min(after - before for before, after in pairwise(counts)), megabytes() - started_with, end=" ")
release_memory()
print(megabytes() - started_with)
"""


def measured(tuned, runs):
    ended = subprocess.run([sys.executable, "-c", SCRIPT, tuned, str(runs)], capture_output=True, text=True, check=True)
    return map(float, ended.stdout.split())


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_is_reused_by_later_runs_and_released_after_it():
    faults, held, left = measured("tuned", runs=6)
    plain_faults, _, _ = measured("plain", runs=2)
    assert plain_faults > 10_000 and plain_faults > 10 * faults
    assert held > 100 and left < 40
