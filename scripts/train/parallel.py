"""Weights, gradients and optimiser state shared by single-threaded worker processes.

One process per core beats one process with many threads as soon as the machine has other work: a
thread that loses its core stalls every parallel loop of the others, a process only the end of the
step. Every worker updates its share of the parameters, so a step's result does not depend on
timing.
"""

import dataclasses

import torch
import torch.multiprocessing as multiprocessing

from optimizer import Average, Optimizer


class Shared:
    """Made before the workers are forked; everything in it lies in shared memory."""

    def __init__(self, model, args, state):
        self.model, self.workers, self.state = model, args.workers, state
        self.config = dataclasses.asdict(model.config)
        if state:
            model.load_state_dict(state["model"])
        model.share_memory()
        named = list(model.named_parameters())
        self.shares = [[] for _ in range(self.workers)]
        for name, p in sorted(named, key=lambda item: -item[1].numel()):
            min(self.shares, key=lambda s: sum(q.numel() for _, q in s)).append((name, p))
        self.optimizer = Optimizer(named, args.muon_rate, args.adam_rate)
        self.average = Average(model, decay=0.995)
        if state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.load_state_dict(state["average"])
        self.grads = [{n: torch.zeros_like(p.data) for n, p in named} for _ in range(self.workers)]
        tables = (self.optimizer.first, self.optimizer.second, self.average.weights, *self.grads)
        for table in tables:
            for tensor in table.values():
                tensor.share_memory_()
        moe = sum(hasattr(layer.mlp, "gate") for layer in model.layers)
        self.loads = torch.zeros(self.workers, moe, model.config.n_routed_experts).share_memory_()
        self.reports = torch.zeros(self.workers, 4).share_memory_()
        self.flag = torch.zeros(1).share_memory_()
        self.barrier = multiprocessing.get_context("fork").Barrier(self.workers)

    def attach(self, rank):
        for name, p in self.model.named_parameters():
            p.grad = self.grads[rank][name]

    def wait(self):
        self.barrier.wait()

    def stop(self):
        self.flag.fill_(1)

    def stopping(self):
        return bool(self.flag.item())

    def report(self, rank, losses, loads, tokens):
        self.reports[rank, :2] = torch.tensor(losses)
        self.reports[rank, 2] = tokens
        for i, (_, load) in enumerate(loads):
            self.loads[rank, i] = load

    def mean(self, column):
        return round(float(self.reports[:, column].mean()), 4)

    def tokens(self):
        return int(self.reports[:, 2].sum())

    def update(self, rank, factor, average):
        """Adds the workers' gradients, updates this worker's parameters and their average, clears
        the gradients. Returns the norm of the whole gradient."""
        self.wait()
        mine = [(n, p) for n, p in self.shares[rank] if p.requires_grad]
        total = 0.0
        for name, _ in mine:
            grad = self.grads[0][name]
            for other in self.grads[1:]:
                grad += other[name]
            grad /= self.workers
            total += float(grad.square().sum())
        self.reports[rank, 3] = total
        self.wait()
        norm = float(self.reports[:, 3].sum()) ** 0.5
        scale = min(1.0, 1.0 / (norm + 1e-6))
        self.optimizer.steps += 1
        for name, p in mine:
            self.optimizer.apply(name, p, self.grads[0][name] * scale, factor)
        self.average.update([(n, p) for n, p in mine] if average else [])
        for name, _ in self.shares[rank]:
            for grads in self.grads:
                grads[name].zero_()
        self.wait()
        return norm

    def averaged(self):
        """A copy of the model with the averaged weights."""
        model = type(self.model)(self.model.config, self.model.compute_dtype)
        model.load_state_dict({**self.model.state_dict(), **self.average.weights})
        return model

    def save(self, path, step, stream):
        """Replaces the file at once, so that a crash leaves the old checkpoint."""
        fresh = path.with_suffix(".new")
        torch.save({"config": self.config, "model": self.model.state_dict(), "step": step,
                    "optimizer": self.optimizer.state_dict(),
                    "average": self.average.state_dict(), **stream}, fresh)
        fresh.rename(path)
