"""Which layers the batched engine knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from fastlr.sweeping.engines import layers
from fastlr.sweeping.engines.base import Unsupported
from fastlr.sweeping.engines.layers import Stack
from fastlr.sweeping.replicas import Chunk

Layer = nn.Module
Function = Callable[[Any, Chunk, Stack], Stack]

ELEMENTWISE = [
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
    nn.Threshold,
]
CHANNELWISE = [
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.ReflectionPad1d,
    nn.ReflectionPad2d,
    nn.ReplicationPad1d,
    nn.ReplicationPad2d,
    nn.Upsample,
    nn.ZeroPad2d,
]

TABLE: dict[type[nn.Module], Function] = {
    **dict.fromkeys(ELEMENTWISE, layers.each),
    **dict.fromkeys(CHANNELWISE, layers.channelwise),
    nn.BatchNorm1d: layers.batch_norm,
    nn.BatchNorm2d: layers.batch_norm,
    nn.BatchNorm3d: layers.batch_norm,
    nn.Conv1d: layers.convolution,
    nn.Conv2d: layers.convolution,
    nn.Conv3d: layers.convolution,
    nn.Dropout: layers.dropout,
    nn.Embedding: layers.embedding,
    nn.Flatten: layers.flatten,
    nn.GroupNorm: layers.group_norm,
    nn.LayerNorm: layers.layer_norm,
    nn.Linear: layers.linear,
    nn.LogSoftmax: layers.over_features,
    nn.Softmax: layers.over_features,
}


def function_of(layer: nn.Module) -> Function:
    """How the layer works on stacks. Raises Unsupported for one that is not known, such as a class of the caller's."""
    function = TABLE.get(type(layer))
    if function is None:
        raise Unsupported(f"{type(layer).__name__} is no layer that it knows")
    return function
