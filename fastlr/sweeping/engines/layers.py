"""Layers over stacks: an activation of all replicas in one tensor, in the form that suits the layer."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastlr.sweeping.engines.base import Unsupported
from fastlr.sweeping.replicas import Chunk


class Form(Enum):
    """How R activations of shape [B, C, ...] stand in one tensor."""

    SHARED = auto()  # [B, C, ...]: the same for all replicas still
    FOLDED = auto()  # [B, R * C, ...]: as convolutions with R groups take them
    ROWS = auto()  # [R, B, C, ...]: as batched products take them


class Stack(NamedTuple):
    """The activations of all replicas."""

    tensor: Tensor
    form: Form


def rows(stack: Stack, count: int) -> Tensor:
    """As [R, B, C, ...]."""
    tensor, form = stack
    if form is Form.ROWS:
        return tensor
    if form is Form.SHARED:
        return tensor.expand(count, *tensor.shape)
    return _split(tensor, count).transpose(0, 1)


def _split(tensor: Tensor, count: int) -> Tensor:
    """[B, R * C, ...] as [B, R, C, ...]; `unflatten` says the same, and its checks in Python take longer."""
    before, width, *after = tensor.shape
    return tensor.view(before, count, width // count, *after)


def folded(stack: Stack, count: int) -> Tensor:
    """As [B, R * C, ...]."""
    tensor, form = stack
    if form is Form.FOLDED:
        return tensor
    return rows(stack, count).transpose(0, 1).flatten(1, 2)


def each(layer: nn.Module, chunk: Chunk, stack: Stack) -> Stack:
    """A layer that does the same to each element, or to each channel."""
    return Stack(layer.forward(stack.tensor), stack.form)


def channelwise(layer: nn.Module, chunk: Chunk, stack: Stack) -> Stack:
    """A layer that does the same to each channel of [B, C, ...]."""
    if stack.form is Form.SHARED:
        return Stack(layer(stack.tensor), Form.SHARED)
    return Stack(layer(folded(stack, chunk.size)), Form.FOLDED)


def flatten(layer: nn.Flatten, chunk: Chunk, stack: Stack) -> Stack:
    if layer.start_dim != 1 or layer.end_dim != -1:
        raise Unsupported(f"{layer!r}")
    tensor, form = stack
    return Stack(tensor.flatten(2 if form is Form.ROWS else 1), form)


def linear(layer: nn.Linear, chunk: Chunk, stack: Stack) -> Stack:
    weight = chunk.of[id(layer.weight)]
    bias = None if layer.bias is None else chunk.of[id(layer.bias)]
    if stack.form is Form.SHARED and stack.tensor.dim() > 1:
        # One product with the weights below each other: the input is the same.
        out = F.linear(stack.tensor, weight.flatten(0, 1), None if bias is None else bias.flatten())
        if out.dim() == 2:
            return Stack(out, Form.FOLDED)
        return Stack(out.view(*out.shape[:-1], chunk.size, -1).movedim(-2, 0), Form.ROWS)
    tensor = rows(stack, chunk.size)
    whole = tensor if tensor.dim() == 3 else tensor.flatten(1, -2)
    out = torch.bmm(whole, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), whole, weight.mT)
    return Stack(out if tensor.dim() == 3 else out.view(*tensor.shape[:-1], -1), Form.ROWS)


def convolution(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, chunk: Chunk, stack: Stack) -> Stack:
    dims = layer.weight.dim()
    if layer.padding_mode != "zeros":
        raise Unsupported(f"{layer!r}")
    function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[dims]
    once = stack.form is Form.SHARED and layer.groups == 1
    tensor = stack.tensor if once else folded(stack, chunk.size)
    if tensor.dim() != dims:
        raise Unsupported(f"an input of {tensor.dim()} dimensions to {layer!r}")
    weight = chunk.of[id(layer.weight)].flatten(0, 1)
    bias = None if layer.bias is None else chunk.of[id(layer.bias)].flatten()
    groups = 1 if once else layer.groups * chunk.size
    out = function(tensor, weight, bias, layer.stride, layer.padding, layer.dilation, groups)
    return Stack(out, Form.FOLDED)


def batch_norm(layer: nn.BatchNorm1d, chunk: Chunk, stack: Stack) -> Stack:
    """The channels of a replica are normalised by themselves, and so are its running statistics."""
    tensor = folded(stack, chunk.size)
    weight, bias, mean, var = (
        None if one is None else chunk.of[id(one)].reshape(-1)
        for one in (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    )
    factor = 0.0 if layer.momentum is None else layer.momentum
    if layer.training and layer.num_batches_tracked is not None:
        counts = chunk.of[id(layer.num_batches_tracked)].add_(1)
        if layer.momentum is None:
            factor = 1.0 / float(counts[0])
    batch = layer.training or mean is None
    if layer.training and not layer.track_running_stats:
        mean, var = None, None
    return Stack(F.batch_norm(tensor, mean, var, weight, bias, batch, factor, layer.eps), Form.FOLDED)


def layer_norm(layer: nn.LayerNorm, chunk: Chunk, stack: Stack) -> Stack:
    tensor = F.layer_norm(rows(stack, chunk.size), layer.normalized_shape, None, None, layer.eps)
    if layer.weight is not None:
        tensor = tensor * _beside(chunk.of[id(layer.weight)], tensor)
    if layer.bias is not None:
        tensor = tensor + _beside(chunk.of[id(layer.bias)], tensor)
    return Stack(tensor, Form.ROWS)


def group_norm(layer: nn.GroupNorm, chunk: Chunk, stack: Stack) -> Stack:
    weight, bias = (None if one is None else chunk.of[id(one)].flatten() for one in (layer.weight, layer.bias))
    tensor = folded(stack, chunk.size)
    return Stack(F.group_norm(tensor, layer.num_groups * chunk.size, weight, bias, layer.eps), Form.FOLDED)


def dropout(layer: nn.Dropout, chunk: Chunk, stack: Stack) -> Stack:
    """One mask for all replicas, drawn as one replica alone draws it."""
    tensor, form = stack
    if not layer.training or layer.p == 0.0:
        return stack
    if form is Form.SHARED:
        return Stack(F.dropout(tensor, layer.p), form)
    own = rows(stack, chunk.size)
    mask = F.dropout(torch.ones(own.shape[1:], dtype=tensor.dtype, device=tensor.device), layer.p)
    if form is Form.FOLDED:
        mask = mask.unsqueeze(1)
        return Stack((_split(tensor, chunk.size) * mask).flatten(1, 2), form)
    return Stack(tensor * mask, form)


def embedding(layer: nn.Embedding, chunk: Chunk, stack: Stack) -> Stack:
    if stack.form is not Form.SHARED or layer.padding_idx is not None or layer.max_norm is not None or layer.sparse:
        raise Unsupported(f"{layer!r}")
    weight = chunk.of[id(layer.weight)]
    firsts = torch.arange(chunk.size, device=weight.device).view(-1, *[1] * stack.tensor.dim()) * layer.num_embeddings
    return Stack(F.embedding(stack.tensor + firsts, weight.flatten(0, 1)), Form.ROWS)


def over_features(layer: nn.Module, chunk: Chunk, stack: Stack) -> Stack:
    """Softmax and its like over the last dimension."""
    tensor = rows(stack, chunk.size)
    if layer.dim not in (-1, tensor.dim() - 2):
        raise Unsupported(f"{layer!r}")
    function = F.log_softmax if isinstance(layer, nn.LogSoftmax) else F.softmax
    return Stack(function(tensor, -1), Form.ROWS)


def _beside(stack: Tensor, tensor: Tensor) -> Tensor:
    """[R, ...] as [R, 1, ..., 1, ...], to go with [R, B, ..., ...]."""
    return stack.view(len(stack), *[1] * (tensor.dim() - stack.dim()), *stack.shape[1:])
