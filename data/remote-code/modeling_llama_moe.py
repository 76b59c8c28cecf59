# Copyright the authors of moe-disco. Apache License 2.0.
"""LLaMA-MoE v1 for transformers: Llama whose feed-forward part is a two-layer noisy gate over experts.

Written from the published formulas; not the code of the LLaMA-MoE authors. The names of parameters are theirs, so
that their checkpoints load. Padding takes part in the balance loss, as it does in theirs.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaForCausalLM, LlamaModel

from .configuration_llama_moe import LlamaMoEConfig


class NoiseWeights(nn.Linear):
    """Begins at 0, where every expert's noise has the deviation softplus(0) + epsilon."""


class LlamaMoEGate(nn.Module):
    """x [N, H] -> selected experts and their scores [N, K], which sum to 1, and the layer's balance loss."""

    def __init__(self, config):
        super().__init__()
        experts, hidden = config.num_experts, config.hidden_size
        self.num_experts, self.num_selects = experts, config.num_selects
        self.add_noise, self.noise_epsilon = config.gate_add_noise, config.gate_noise_epsilon
        self.gate_network = nn.Sequential(
            nn.Linear(hidden, experts, bias=False), nn.Tanh(), nn.Linear(experts, experts, bias=False)
        )
        self.weight_noise = NoiseWeights(hidden, experts, bias=False)

    def forward(self, x):
        clean = self.gate_network(x).float()
        noisy = self.training and self.add_noise
        logits = clean
        if noisy:
            deviation = F.softplus(self.weight_noise(x).float()) + self.noise_epsilon
            noise = torch.randn_like(clean) * deviation
            logits = clean + noise
        largest, order = logits.topk(min(self.num_selects + 1, self.num_experts), dim=1)
        selected = order[:, : self.num_selects]
        scores = largest[:, : self.num_selects].softmax(-1)
        per_expert = torch.zeros_like(logits).scatter(1, selected, scores)
        if noisy and self.num_selects < self.num_experts:
            # The chance to be selected when the noise is drawn again. Comparing the noise alone is upstream's way.
            inside, outside = largest[:, self.num_selects :], largest[:, self.num_selects - 1 : self.num_selects]
            threshold = torch.where(noise > inside, inside, outside)
            load = torch.special.ndtr((clean - threshold) / deviation).sum(0)
        else:
            load = (per_expert > 0).sum(0).float()
        return selected, scores, squared_variation(per_expert.sum(0)) + squared_variation(load)


def squared_variation(values):
    if len(values) == 1:
        return values.new_zeros(())
    return values.var() / (values.mean() ** 2 + 1e-10)


class LlamaMoEExperts(nn.Module):
    """One SwiGLU per expert."""

    def __init__(self, config):
        super().__init__()
        hidden, width = config.hidden_size, config.intermediate_size // config.num_experts
        matrices = lambda *shape: nn.ParameterList(  # noqa: E731
            [nn.Parameter(torch.empty(shape)) for _ in range(config.num_experts)]
        )
        self.weight_gate = matrices(width, hidden)
        self.weight_up = matrices(width, hidden)
        self.weight_down = matrices(hidden, width)

    def forward(self, x, expert):
        inner = F.silu(F.linear(x, self.weight_gate[expert])) * F.linear(x, self.weight_up[expert])
        return F.linear(inner, self.weight_down[expert])


class LlamaMoECalculator(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.experts = LlamaMoEExperts(config)
        self.num_experts, self.scale = config.num_experts, config.score_scale_factor

    def forward(self, x, selected, scores):
        result = torch.zeros_like(x)
        for expert in range(self.num_experts):
            token, slot = torch.where(selected == expert)
            weight = (scores[token, slot] * self.scale).unsqueeze(1).to(x.dtype)
            result.index_add_(0, token, self.experts(x[token], expert) * weight)
        return result


class LlamaMoEBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate = LlamaMoEGate(config)
        self.calculator = LlamaMoECalculator(config)
        self.balance_loss = None

    def forward(self, hidden_states):
        x = hidden_states.reshape(-1, hidden_states.shape[-1])
        selected, scores, self.balance_loss = self.gate(x)
        return self.calculator(x, selected, scores).view(hidden_states.shape)


class Initialised:
    """Weights of modules that transformers does not know how to initialise."""

    def _init_weights(self, module):
        if isinstance(module, NoiseWeights):
            nn.init.zeros_(module.weight)
        elif isinstance(module, nn.ParameterList):
            for parameter in module:
                nn.init.normal_(parameter, mean=0.0, std=self.config.initializer_range)
        else:
            super()._init_weights(module)


class LlamaMoEModel(Initialised, LlamaModel):
    config_class = LlamaMoEConfig

    def __init__(self, config):
        super().__init__(config)
        for layer in self.layers:
            layer.mlp = LlamaMoEBlock(config)
        self.post_init()


class LlamaMoEForCausalLM(Initialised, LlamaForCausalLM):
    config_class = LlamaMoEConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaMoEModel(config)
        self.post_init()

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        config = self.config
        if self.training and output.loss is not None and config.gate_use_balance:
            balance = sum(layer.mlp.balance_loss for layer in self.model.layers)
            output.loss = output.loss + config.gate_balance_loss_weight * balance
        return output
