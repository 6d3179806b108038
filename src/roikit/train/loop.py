"""The training loop: accelerate places and synchronises, everything else is a step after a step.

A run is its folder. What happens at step s follows from (configuration, s) and the state in the newest checkpoint, so a
run that was killed and resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import math
import time
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from . import checkpoint
from .build import add_losses, build_model
from .config import TrainConfig, total_steps
from .datasets import is_voc
from .errors import RunError
from .evaluation import evaluate
from .log import Log, Window
from .mimic import mimicking
from .optim import averaged, make_optimizer, parameter_groups
from .parse import changes
from .progress import Progress
from .runfolder import RunFolder, load_weights
from .sampling import Samplers
from .schedule import rate_factor
from .stream import Augmented, Stream, collate, quiet_worker, to_device
from .table import flatten, summary


class Training:
    """A run in memory: model, optimiser and place in the stream. `train` drives it.

    Args:
        config: what to train.
        text: the configuration as YAML, kept with the weights.
        run: the folder.
        train_set, eval_set: data sets (`roikit.data`).
        transform: of (image, target) before training on them; random numbers from torch's generator.
        accelerator: from `devices.make_accelerator`.
        state: of a checkpoint to continue from.
    """

    def __init__(
        self,
        config: TrainConfig,
        text: str,
        run: RunFolder,
        train_set: Any,
        eval_set: Any,
        transform: Any,
        accelerator: Accelerator,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.text, self.run, self.accelerator = config, text, run, accelerator
        self.train_set, self.eval_set, self.transform = train_set, eval_set, transform
        self.total = total_steps(config, len(train_set))
        if config.data.batch % accelerator.num_processes:
            raise RunError(
                f"data.batch: {config.data.batch} images do not divide over {accelerator.num_processes} processes"
            )
        optim = config.optim
        set_seed(config.seed)
        built = state["built"] if state else None
        self.detector: nn.Module = build_model(config, len(train_set.categories), built).to(accelerator.device)
        add_losses(self.detector, config)
        self.mimicking = mimicking(self.detector, config.mimic)
        self.samplers = Samplers(self.detector, self.mimicking)
        common: dict[str, Any] = {"lr": optim.lr, "weight_decay": optim.weight_decay, "decay_norms": optim.decay_norms}
        groups = parameter_groups(self.detector, factors=optim.factors, steering=optim.steering, **common)
        if self.mimicking is not None:
            groups += parameter_groups(self.mimicking.classifier, factors={}, **common)
        # copied before prepare, which ties the model's forward to this very object
        self.ema: AveragedModel | None = averaged(self.detector, optim.ema) if optim.ema else None
        optimizer = make_optimizer(groups, name=optim.name, lr=optim.lr, momentum=optim.momentum)
        trained = self.detector if self.mimicking is None else self.mimicking
        self.model, self.optimizer = accelerator.prepare(trained, optimizer)
        self.step, self.seconds, self.window = 0, 0.0, Window()
        self._random: dict[str, Any] | None = None
        set_seed(config.seed + 1, device_specific=True)
        if state is not None:
            self._restore(state)

    # ---- state

    def _restore(self, state: dict[str, Any]) -> None:
        """Go to the place of a checkpoint."""
        where = f"{self.run.checkpoints}, step {state['step']}"
        changed = changes(state["config"], self.text)
        if changed:
            raise RunError(f"{self.run.config}: has changed since {where}: {'; '.join(changed[:3])}; undo that")
        load_weights(self.detector, state["model"], where)
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            if self.ema is not None:
                self.ema.load_state_dict(state["ema"])
            if self.mimicking is not None:
                self.mimicking.classifier.load_state_dict(state["mimic"])
            if self.accelerator.scaler is not None and state["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
            raise RunError(f"{where}: does not fit config.yaml ({error})") from None
        self.step, self.seconds, self.window = state["step"], state["seconds"], Window(**state["window"])
        if len(state["random"]) == self.accelerator.num_processes:
            self._random = state["random"][self.accelerator.process_index]

    def save(self) -> None:
        """Write a checkpoint. Every process calls it: each has random numbers of its own."""
        accelerator = self.accelerator
        own = [checkpoint.random_state()]
        states = gather_object(own) if accelerator.num_processes > 1 else own
        if accelerator.is_main_process:
            checkpoint.save(
                self.run.checkpoints,
                self.step,
                {
                    "config": self.text,
                    "built": self.detector.build_info,
                    "model": self.detector.state_dict(),
                    "ema": self.ema.state_dict() if self.ema is not None else None,
                    "mimic": self.mimicking.classifier.state_dict() if self.mimicking is not None else None,
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
                    "random": states,
                    "window": self.window.state(self.step),
                    "seconds": self.seconds,
                },
                self.config.keep_checkpoints,
            )

    @property
    def best(self) -> nn.Module:
        """The weights to evaluate and keep: the running average where there is one."""
        return self.ema.module if self.ema is not None else self.detector

    # ---- steps

    def loader(self) -> DataLoader:
        """The rest of the stream for this process."""
        data, accelerator = self.config.data, self.accelerator
        stream = Stream(
            len(self.train_set),
            batch=data.batch,
            seed=self.config.seed,
            start=self.step,
            stop=self.total,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )
        return DataLoader(
            Augmented(self.train_set, self.transform, self.config.seed),
            batch_sampler=stream,
            num_workers=data.workers,
            collate_fn=collate,
            worker_init_fn=quiet_worker,
            pin_memory=accelerator.device.type == "cuda",
            generator=torch.Generator(),  # its own: the global random numbers are part of the checkpoint
        )

    def take_step(self, images: list[Tensor], targets: list[dict], seeds: list[int]) -> float:
        """One step on this process's share of the batch; returns the learning rate (of factor 1)."""
        optim, accelerator = self.config.optim, self.accelerator
        factor = rate_factor(
            self.step,
            self.total,
            warmup=optim.warmup,
            shape=optim.schedule,
            milestones=optim.milestones,
            gamma=optim.gamma,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = optim.lr * group["factor"] * factor
        self.samplers.reseed(seeds)
        images, targets = to_device(images, targets, accelerator.device)
        losses = self.samplers.balance(self.model(images, targets), accelerator)
        accelerator.backward(torch.stack(list(losses.values())).sum())
        if optim.clip:
            accelerator.clip_grad_norm_(self.model.parameters(), optim.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update_parameters(self.detector)
        self.window.add(losses)
        self.step += 1
        return optim.lr * factor

    def measure(self, *, show: bool = True) -> dict[str, Any] | None:
        """Metrics on the evaluation split; None but on the main process."""
        accelerator, data = self.accelerator, self.config.data
        share = math.ceil(len(self.eval_set) / accelerator.num_processes)
        with Progress(
            "eval", share, every=max(1, share // 4), silent=not (show and accelerator.is_main_process)
        ) as bar:
            return evaluate(
                self.best,
                self.eval_set,
                accelerator,
                batch=data.eval_batch,
                workers=data.workers,
                tick=bar.update,
                voc=is_voc(data.path),
                reach=self.config.video.reach,
                oriented=data.oriented or self.config.model.oriented,
                resample=self.config.resample if self.step == self.total else 0,
            )

    def run_steps(self, log: Log) -> None:
        """From the present step to the last."""
        config, accelerator, main = self.config, self.accelerator, self.accelerator.is_main_process
        self.model.train()
        batches = iter(self.loader())
        if self._random is not None:  # after the loader has started, so that nothing draws in between
            checkpoint.set_random_state(self._random)
        if self.step == 0 and not self.config.keep_checkpoints:
            self.save()
        clock = time.perf_counter() - self.seconds
        with Progress("train", self.total, done=self.step, every=config.log_every, silent=not main) as bar:
            for images, targets, seeds in batches:
                rate = self.take_step(images, targets, seeds)
                self.seconds = time.perf_counter() - clock
                last = self.step == self.total
                text = None
                if self.step % config.log_every == 0 or last:
                    means = self.window.take(accelerator, self.step)
                    total = sum(means.values())
                    numbers = {"loss": total, **means, "lr": rate, "seconds": round(self.seconds, 2)}
                    log.write("train", self.step, numbers)
                    text = f"loss {total:.3f}  lr {rate:.2g}"
                bar.update(1, text)
                if config.eval_every and self.step % config.eval_every == 0 and not last:
                    metrics = self.measure(show=False)
                    self.model.train()
                    if metrics is not None:
                        log.write("eval", self.step, flatten(metrics))
                        bar.say(f"eval at step {self.step}: {summary(metrics)}")
                if self.step % config.save_every == 0 or last:
                    log.sync()
                    self.save()


def train(
    config: TrainConfig,
    text: str,
    run: RunFolder,
    train_set: Any,
    eval_set: Any,
    transform: Any,
    accelerator: Accelerator,
) -> dict[str, Any] | None:
    """Train from the newest checkpoint of the run (or from the start), evaluate, and write weights and metrics.

    The folder of a new run is made here, once data and model could be built.

    Returns the metrics on the main process, None on the others.
    """
    say = print if accelerator.is_main_process else (lambda _line: None)
    state = checkpoint.load_newest(run.checkpoints, say)
    training = Training(config, text, run, train_set, eval_set, transform, accelerator, state)
    if not run.config.exists() and accelerator.is_main_process:  # a new run: everything that could be wrong was right
        run.create(text)
    if accelerator.is_main_process:
        run.tidy()
    accelerator.wait_for_everyone()
    if state is not None:
        say(f"resumed {run.path} at step {training.step} of {training.total}")
    place = -1 if state is None else training.step
    log = Log(run, step=place, last=place == training.total, active=accelerator.is_main_process)
    source = cast(Any, training.detector).build_info.get("source")
    try:
        if state is None and source is not None:
            say(f"weights of {source}")
            log.write("start", 0, {"weights": source})
        if training.step < training.total:
            training.run_steps(log)
        if accelerator.is_main_process:
            run.write_weights(training.best, train_set.categories, text, train_set.category_ids)
        metrics = training.measure()
        if metrics is not None:
            metrics = {**metrics, "step": training.step, "train_seconds": round(training.seconds, 1)}
            log.write("eval", training.step, flatten(metrics))
            run.write_metrics(metrics)
        return metrics
    finally:
        log.close()
