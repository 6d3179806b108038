"""Kernels in forked children, DataLoader workers, several Python threads, and homes that cannot be written."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

import roikit

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def scene(seed=0):
    generator = torch.Generator().manual_seed(seed)
    # So few values that torch runs its own operators serially: its OpenMP threads hang in a forked child, this library
    # or not. The kernels are split over threads all the same.
    x = torch.rand(2, 16, 20, 24, generator=generator)
    ends = torch.rand(30, 2, 2, generator=generator) * torch.tensor([24.0, 20.0])
    batch = torch.randint(2, (30, 1), generator=generator)
    return x, torch.cat([batch, ends.amin(1), ends.amax(1)], 1)


def work(seed=0):
    """Forward and backward of two kernels."""
    x, boxes = scene(seed)
    found = []
    for extractor in (roikit.RoIAlign(7), roikit.RoIPool(7)):
        leaf = x.clone().requires_grad_()
        out = extractor(leaf, boxes)
        found += [out.detach(), torch.autograd.grad(out.square().sum(), leaf)[0]]
    return found


@pytest.fixture
def warm(threads):
    """Kernels have run here, on two threads, before the process forks."""
    threads(2)
    return work()


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@needs_fork
@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns of what is tested
def test_a_forked_child_computes(warm):
    child = os.fork()
    if not child:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)  # ends it if it hangs
            code = 0 if same(work(), warm) else 3
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert same(work(), warm), "the parent still computes"


def _in_child(queue):
    torch.set_num_threads(2)
    queue.put([t.tolist() for t in work()])


@needs_fork
@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns of what is tested
def test_a_multiprocessing_child_computes(warm):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    found = [torch.tensor(t) for t in queue.get(timeout=40)]
    child.join(20)
    assert child.exitcode == 0 and same(found, warm)


class Regions(torch.utils.data.Dataset):
    """Items that an extractor makes."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        x, boxes = scene(index)
        return roikit.RoIAlign(3)(x, boxes)


@needs_fork
@pytest.mark.timeout(90)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns of what is tested
def test_data_loader_workers_compute(warm):
    loader = torch.utils.data.DataLoader(
        Regions(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    found = torch.cat(list(loader))
    assert torch.equal(found, torch.stack([Regions()[i] for i in range(6)]))


def test_several_python_threads_at_once(warm):
    expected = [work(seed) for seed in range(4)]
    wrong: list[object] = []

    def run(seed):
        try:
            for _ in range(5):
                if not same(work(seed), expected[seed]):
                    wrong.append(f"thread {seed} found other values")
        except Exception as error:
            wrong.append(error)

    running = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in running)


def test_the_number_of_threads_may_change_between_calls(warm, threads):
    for count in (3, 1, 2, 4):
        threads(count)
        assert same(work(), warm)


SCRIPT = """
import os, sys, torch, roikit
torch.set_num_threads(1)
out = roikit.RoIAlign(2, 1)(torch.arange(16.0).reshape(1, 1, 4, 4), [torch.tensor([[0.0, 0.0, 4.0, 4.0]])])
assert out.flatten().tolist() == [2.5, 4.5, 10.5, 12.5], out
print("numba" in sys.modules)
"""


def fresh(code=SCRIPT, **environment):
    """Run in a new process, with nothing of these variables from here."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ROIKIT", "NUMBA", "XDG"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )


ONE_KERNEL = """
import torch
from roikit.sums import layout
x = torch.arange(24.0).reshape(1, 2, 3, 4)
assert torch.equal(torch.from_numpy(layout.channels_last(x)), x.permute(0, 2, 3, 1))
"""


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    """Nothing can be made under a file, not even by root: the kernel is compiled in memory."""
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder")
    done = fresh(ONE_KERNEL, ROIKIT_CACHE=str(blocked / "deeper"), HOME=str(blocked))
    assert done.returncode == 0, done.stderr
    assert blocked.read_text() == "no folder"


def test_the_cache_goes_where_it_is_told(tmp_path):
    done = fresh(ONE_KERNEL, ROIKIT_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.nbi")), "no kernel was cached"


TWO_KERNELS = """
import torch
from roikit.sums import jit
jit.PATIENCE = 0.0
from roikit.sums import layout
for dtype in (torch.float32, torch.float64):  # a kernel is compiled for each
    layout.channels_last(torch.rand(1, 2, 3, 4, dtype=dtype))
"""


def test_a_line_says_why_a_first_call_takes_long(tmp_path):
    done = fresh(TWO_KERNELS, ROIKIT_CACHE=str(tmp_path))
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert done.stderr.count("compiling its CPU kernels") == 1 and str(tmp_path) in done.stderr


COUNTED = """
import torch
from roikit.sums import layout
layout.channels_last(torch.rand(1, 2, 3, 4))
print(sum(layout._to_last.stats.cache_misses.values()))
"""


def test_of_two_processes_one_compiles(tmp_path):
    """The other waits, and reads what was kept."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ROIKIT", "NUMBA", "XDG"))}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTED],
            env={**kept, "ROIKIT_CACHE": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert sorted(out.strip() for out, _ in said) == ["0", "1"], said


def test_a_kernel_is_kept_by_what_it_is_made_of():
    """Its file, helpers in other files, every rule; nothing else: a docstring elsewhere costs no compilation."""
    from roikit import rules
    from roikit.sums import jit

    names = {path.relative_to(jit._PACKAGE).as_posix() for path in jit.sources()}
    assert {"separable/cpu_last.py", "vector.py", "loops.py", "jit.py"} <= {
        name.removeprefix("sums/") for name in names
    }
    assert {f"rules/{name}.py" for name in rules.NAMES} <= names
    assert not {"sums/operator.py", "sums/separable/gpu.py", "sums/separable/reference.py"} & names
    for path in jit._PACKAGE.rglob("*.py"):
        if "jit.kernel" in path.read_text(encoding="utf-8"):
            assert path in jit.sources() or path.name == "jit.py", path


def test_the_reference_needs_no_numba():
    done = fresh(ROIKIT_BACKEND="reference")
    assert done.returncode == 0 and done.stdout.strip() == "False", done.stderr


def test_the_package_is_light_until_it_is_used():
    """Importing it and its extractors loads no compiler, backbones, plots or metrics."""
    heavy = ("numba", "timm", "accelerate", "matplotlib", "torchmetrics", "tensorboard", "onnx")
    use = "import sys, roikit; roikit.RoIAlign, roikit.MultiScale, roikit.replace_roi"
    done = fresh(f"{use}; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
