"""Faults at random moments of a training: it resumes to the same weights, to the bit, or says what is missing.

    python tests/kill/campaign.py --kills 100 --full 10 --frozen 5 --clocks 5 --pairs 3

A small detector is trained again and again in forked children, which import nothing anew, and is

- killed (SIGKILL) at a random moment, or within the writing of a file: before it, half-way, before it gets its name;
- left without room on its disk (a file system of its own where root may mount one, else a limit on the size of files);
- given a folder that turns read-only; or a clock that jumps by days, back and forth;
- of two processes, robbed of one (`pairs`): the other must stop with a sentence, and the run resume.

After every fault each file in the run's folder must be whole. When a run has ended, its weights, metrics and log are
those of one that nothing happened to.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # sums have one order; nothing runs beside that a fork would lose
sys.path.insert(0, str(Path(__file__).parent.parent))

import tiny_run
from faults import fill, jumping_clock, torn_write, workers

STEPS = 8
FLAGS = [
    *tiny_run.FLAGS,
    f"--optim.steps={STEPS}",
    "--optim.ema=0.9",
    "--save_every=1",
    "--eval_every=3",
]
Fault = Callable[[], None]
TORN = ("before", "half", "unnamed")


class Campaign:
    """Runs of one small training with faults; `counts` says how many of each there were and how runs went on."""

    def __init__(self, place: Path, seed: int, workers: int = 1) -> None:
        self.place, self.moments, self.counts = place, random.Random(seed), Counter()
        self.data = tiny_run.make_coco(place / "data", images=4)
        self.flags = [f"--data.path={self.data}", *FLAGS, f"--data.workers={workers}"]
        self.whole, start = place / "whole", time.monotonic()
        self.number = 0
        code, said = self.child([f"--out={self.whole}", *self.flags])
        assert code == 0, said
        shutil.rmtree(self.whole)  # the first one compiled kernels
        start = time.monotonic()
        assert self.child([f"--out={self.whole}", *self.flags])[0] == 0
        self.seconds = time.monotonic() - start
        self.size = sum(path.stat().st_size for path in self.whole.rglob("*") if path.is_file())

    def start(self, arguments: list[str], fault: Fault | None = None) -> int:
        """A child that trains; its output goes to `said.txt`."""
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            with open(self.place / "said.txt", "w") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            import torch

            from roikit.cli import main

            torch.set_num_threads(1)
            if fault is not None:
                fault()
            code = main(["train", *arguments])
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def child(self, arguments: list[str], fault: Fault | None = None, kill: float | None = None) -> tuple[int, str]:
        """Its exit code (a signal's is negative), and what it said."""
        pid = self.start(arguments, fault)
        patience = time.monotonic() + max(120.0, 20 * getattr(self, "seconds", 60.0))
        moment = None if kill is None else time.monotonic() + kill
        while True:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status), (self.place / "said.txt").read_text(errors="replace")
            now = time.monotonic()
            if now > patience:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise AssertionError(f"it hung: {(self.place / 'said.txt').read_text(errors='replace')[-3000:]}")
            if moment is not None and now >= moment:
                os.kill(pid, signal.SIGKILL)
                moment = None
            time.sleep(0.002)

    def new(self) -> Path:
        self.number += 1
        return self.place / f"run-{self.number}"

    def next(self, run: Path) -> list[str]:
        """Arguments that begin a run, or resume it."""
        return [f"--resume={run}"] if (run / "config.yaml").is_file() else [f"--out={run}", *self.flags]

    def ended(self, run: Path) -> bool:
        return (run / "metrics.json").is_file()

    def check_files(self, run: Path) -> None:
        """Whatever has its name is whole: nothing could read half of a file."""
        import yaml
        from safetensors import safe_open

        from roikit.train import checkpoint

        if (run / "config.yaml").exists():
            assert "optim" in yaml.safe_load((run / "config.yaml").read_text())
        for step in checkpoint.steps(run / "checkpoints"):
            assert checkpoint.load(run / "checkpoints", step)["step"] == step
        if (run / "model.safetensors").exists():
            with safe_open(run / "model.safetensors", "pt") as file:
                assert file.metadata()["categories"]
        if (run / "metrics.json").exists():
            assert "bbox" in json.loads((run / "metrics.json").read_text())

    def finish(self, run: Path) -> None:
        """To the end without a fault, and compared with the run that had none."""
        code, said = self.child(self.next(run))
        assert code == 0, said
        self.compare(run)

    def compare(self, run: Path) -> None:
        tiny_run.assert_same(self.whole, run)
        left = [path for path in run.rglob("*") if path.name.endswith(".tmp")]
        assert not left, left
        self.counts["runs that ended to the same bits"] += 1
        shutil.rmtree(run)

    # ---- kills

    def kill(self, total: int) -> None:
        """SIGKILL, `total` times: every other one within a write."""
        run, done = self.new(), 0
        while done < total:
            if done % 2:
                how, nth = self.moments.choice(TORN), self.moments.randint(1, 6)
                code, said = self.child(self.next(run), lambda how=how, nth=nth: torn_write(how, nth))
                what = f"kills within a write: {how}"
            else:
                code, said = self.child(self.next(run), kill=self.moments.uniform(0, self.seconds))
                what = "kills by the clock"
            assert code in (0, -signal.SIGKILL), said
            if code:
                done += 1
                self.counts[what] += 1
                self.check_files(run)
            if self.ended(run):
                self.compare(run)
                run = self.new()
        self.finish(run)

    # ---- disks

    def full(self, total: int) -> None:
        """A disk without room: a sentence, exit code 2; with room again it goes on."""
        for _ in range(total):
            run = self.new()
            if mounted := self.mount("32m"):
                run = mounted / "run"
                room = self.moments.randint(0, 8_000_000)
                fault = functools.partial(fill, mounted, room)
            else:
                limit = self.moments.choice([100, 3_000, 100_000])
                fault = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
            try:
                code, said = self.child(self.next(run), fault)
                self.refused("full disks", run, code, said, ("No space left on device", "File too large"))
                self.check_files(run)
                if mounted:
                    (mounted / "filling").unlink(missing_ok=True)
                self.finish(run)
            finally:
                self.unmount(mounted)

    def frozen(self, total: int) -> None:
        """A folder that turns read-only in the middle (needs root)."""
        for _ in range(total):
            mounted = self.mount("64m")
            if mounted is None:
                self.counts["read-only folders left out: root alone can make one that binds root"] += 1
                return
            run = mounted / "run"
            try:
                pid = self.start(self.next(run))
                time.sleep(self.moments.uniform(0, self.seconds))
                while subprocess.run(
                    ["mount", "-o", "remount,ro", mounted], check=False, capture_output=True
                ).returncode:
                    time.sleep(0.001)  # a file is open for writing
                    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                        break
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                said = (self.place / "said.txt").read_text(errors="replace")
                self.refused("read-only folders", run, code, said, ("Read-only file system",))
                self.check_files(run)
                subprocess.run(["mount", "-o", "remount,rw", mounted], check=True)
                self.finish(run)
            finally:
                self.unmount(mounted)

    def refused(self, what: str, run: Path, code: int, said: str, reasons: tuple[str, ...]) -> None:
        """It ended well, before the fault or in spite of it, or with one line that says why."""
        last = said.strip().splitlines()[-1] if said.strip() else ""
        explained = code == 2 and str(run) in last and any(reason in last for reason in reasons)
        explained = explained and "Traceback" not in said
        assert code == 0 or explained, f"exit code {code}: {said[-3000:]}"
        self.counts[f"{what}{'' if explained else ' that came too late'}"] += 1

    def mount(self, size: str) -> Path | None:
        """A file system of its own, None where this is not root."""
        place = self.place / f"disk-{self.number}-{len(os.listdir(self.place))}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
        done = subprocess.run(command, check=False, capture_output=True)
        return place if done.returncode == 0 else None

    def unmount(self, place: Path | None) -> None:
        if place is not None:
            subprocess.run(["umount", "-l", place], check=True)

    # ---- clocks

    def clocks(self, total: int) -> None:
        for _ in range(total):
            run, seed = self.new(), self.moments.random()
            code, said = self.child(self.next(run), lambda seed=seed: jumping_clock(seed))
            assert code == 0, said
            self.counts["runs with a clock that jumps"] += 1
            self.compare(run)

    # ---- two processes

    def pairs(self, total: int) -> None:
        """One of two dies: the other stops by itself, and the run resumes (its weights are those of two processes)."""
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "roikit"]
        # frozen norms: each process sees its own images alone
        flags = [*self.flags, "--model.norm=frozen"]

        def pair(arguments: list[str], kill: bool) -> tuple[int, str]:
            with open(self.place / "pair.txt", "w+") as said:
                process = subprocess.Popen(
                    [*launch, "train", *arguments], env=tiny_run.ENVIRONMENT, stdout=said, stderr=said
                )
                if kill:
                    run = Path(next(a for a in arguments if a.startswith(("--out", "--resume"))).partition("=")[2])
                    limit = time.monotonic() + 300
                    while not list(run.glob("checkpoints/*.pt")) and time.monotonic() < limit:
                        time.sleep(0.02)
                    time.sleep(self.moments.uniform(0, 1))
                    of_pair = workers(process.pid)
                    if of_pair:
                        os.kill(self.moments.choice(of_pair), signal.SIGKILL)
                code = process.wait(timeout=400)
                said.seek(0)
                return code, said.read()

        whole = self.place / "pair"
        code, said = pair([f"--out={whole}", *flags], kill=False)
        assert code == 0, said
        for _ in range(total):
            run, begun = self.new(), time.monotonic()
            code, said = pair([f"--out={run}", *flags], kill=True)
            seconds = time.monotonic() - begun
            assert code == 0 or "SIGKILL" in said or "Signal 9" in said, said[-3000:]
            self.counts["pairs of which one died" if code else "pairs that had ended before"] += 1
            print(f"the other of the pair stopped; {seconds:.0f} s with the start", flush=True)
            self.check_files(run)
            if not self.ended(run):
                code, said = pair([f"--resume={run}"], kill=False)
                assert code == 0, said
            tiny_run.assert_same(whole, run)
            self.counts["pairs that ended to the same bits"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in (("kills", 100), ("full", 10), ("frozen", 5), ("clocks", 5), ("pairs", 3)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--workers", type=int, default=1, help="of the data loader")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="roikit-kill-") as place:
        # what children need, once
        from torchmetrics.detection import MeanAveragePrecision  # noqa: F401  (loaded)

        from roikit.cli import main as _  # noqa: F401  (loaded)

        campaign = Campaign(Path(place), options.seed, options.workers)
        print(f"a run takes {campaign.seconds:.1f} s and {campaign.size / 1e6:.1f} MB", flush=True)
        for name in ("kills", "full", "frozen", "clocks", "pairs"):
            count = getattr(options, name)
            if count:
                (campaign.kill if name == "kills" else getattr(campaign, name))(count)
                print(f"{name}: {dict(campaign.counts)}, {time.monotonic() - begun:.0f} s", flush=True)
    for what, count in sorted(campaign.counts.items()):
        print(f"{count:5d}  {what}")


if __name__ == "__main__":
    main()
