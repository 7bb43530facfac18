"""Muon for the matrices, AdamW for everything else, and an average of the weights."""

import torch


def orthogonalise(matrices, steps=5):
    """Newton-Schulz iteration towards the nearest orthogonal matrices, [..., out, in]."""
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if tall else x).float()


def is_hidden_matrix(name, parameter):
    aside = ("embed_tokens", ".gate.", "indexer")
    return parameter.dim() >= 2 and not any(part in name for part in aside)


class Optimizer:
    """Rates are those at schedule factor 1."""

    def __init__(self, named, muon_rate=0.02, adam_rate=2e-3, weight_decay=0.05,
                 momentum=0.95, betas=(0.9, 0.98)):
        self.named = list(named)
        self.muon_rate, self.adam_rate, self.indexer_rate = muon_rate, adam_rate, 1e-3
        self.weight_decay, self.momentum, self.betas = weight_decay, momentum, betas
        self.steps = 0
        self.first = {n: torch.zeros_like(p.data) for n, p in self.named}
        self.second = {n: torch.zeros_like(p.data) for n, p in self.named
                       if not is_hidden_matrix(n, p)}

    def state_dict(self):
        return {"steps": self.steps, "first": self.first, "second": self.second}

    def load_state_dict(self, state):
        self.steps = state["steps"]
        for mine, stored in ((self.first, state["first"]), (self.second, state["second"])):
            for name, value in mine.items():
                value.copy_(stored[name])

    @torch.no_grad()
    def apply(self, name, p, grad, factor):
        """One parameter's update; `steps` must have been counted up before."""
        if name in self.second:
            rate = self.indexer_rate if ".indexer." in name else self.adam_rate
            self._adam(name, p, grad, factor * rate)
        else:
            self._muon(name, p, grad, factor * self.muon_rate)

    def _muon(self, name, p, grad, rate):
        velocity = self.first[name].lerp_(grad, 1 - self.momentum)
        update = orthogonalise(grad.lerp(velocity, self.momentum))
        update *= max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
        p.mul_(1 - rate * self.weight_decay).add_(update, alpha=-rate)

    def _adam(self, name, p, grad, rate):
        b1, b2 = self.betas
        mean = self.first[name].lerp_(grad, 1 - b1)
        square = self.second[name].lerp_(grad.square(), 1 - b2)
        mean, square = mean / (1 - b1**self.steps), square / (1 - b2**self.steps)
        if p.dim() >= 2:
            p.mul_(1 - rate * self.weight_decay)
        p.sub_(mean / (square.sqrt() + 1e-8), alpha=rate)


class Average:
    """Exponential moving average of the parameters; young averages follow faster."""

    def __init__(self, model, decay):
        self.decay = decay
        self.updates = 0
        self.weights = {n: p.detach().clone() for n, p in model.named_parameters()}

    def state_dict(self):
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state):
        self.updates = state["updates"]
        for name, value in self.weights.items():
            value.copy_(state["weights"][name])

    @torch.no_grad()
    def update(self, named):
        self.updates += 1
        keep = min(self.decay, self.updates / (self.updates + 9))
        for name, p in named:
            self.weights[name].lerp_(p, 1 - keep)
