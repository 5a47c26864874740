"""Tensors that pass for a device's: what the exchange table says of them, and that torch keeps their type."""

import ctypes
import struct

import pytest
import torch
from cuda_tensors import module_on_device, on_cpu, on_device
from standin_driver import Standin

CPU, CUDA = 1, 2


def table_entry(tensor: torch.Tensor, offset: int) -> int:
    """The function at this place in the exchange table of the tensor's type."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = pointer(type(tensor).__dlpack_c_exchange_api__, b"dlpack_exchange_api")  # type: ignore[attr-defined]
    return ctypes.c_uint64.from_address(table + offset).value


def view_of(tensor: torch.Tensor) -> tuple[int, int, int]:
    """Device type, device number and address."""
    out = ctypes.create_string_buffer(64)
    view = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)(table_entry(tensor, 40))
    assert view(tensor, out) == 0
    address, kind, device = struct.unpack_from("<Qii", out)
    return kind, device, address


def stream_of(tensor: torch.Tensor, device: int) -> int:
    stream = ctypes.c_void_p()
    ask = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(table_entry(tensor, 48))
    assert ask(CUDA, device, ctypes.byref(stream)) == 0
    return stream.value or 0


@pytest.mark.parametrize("device", range(4))
def test_the_table_says_which_device(standin: Standin, device: int) -> None:
    plain = torch.arange(6.0)
    tensor = on_device(plain, device)
    assert view_of(tensor) == (CUDA, device, plain.data_ptr())
    assert view_of(plain) == (CPU, 0, plain.data_ptr())
    assert view_of(tensor[2:]) == (CUDA, device, plain.data_ptr() + 8)


def test_the_table_says_which_stream(standin: Standin) -> None:
    tensor = on_device(torch.zeros(1), 1)
    stream = standin.stream(device=1)
    with standin.on_stream(stream, device=1):
        assert (stream_of(tensor, 0), stream_of(tensor, 1)) == (0, stream)
    assert stream_of(tensor, 1) == 0


def test_torch_keeps_the_type(standin: Standin) -> None:
    tensor = on_device(torch.randn(5, requires_grad=True))
    assert tensor.is_leaf
    assert tensor.requires_grad
    made = [torch.empty_like(tensor), tensor.to(torch.float64), tensor.new_empty(3), tensor * 2, tensor.detach()]
    assert {type(each) for each in made} == {type(tensor)}
    assert type(on_cpu(tensor)) is torch.Tensor


def test_gradients_have_the_type_of_their_tensor(standin: Standin) -> None:
    tensor = on_device(torch.randn(5, requires_grad=True), 1)
    (tensor * tensor).sum().backward()
    first = tensor.grad
    assert type(first) is type(tensor)
    assert torch.equal(on_cpu(first), 2 * on_cpu(tensor))
    (tensor * tensor).sum().backward()
    assert tensor.grad is first
    assert torch.equal(on_cpu(first), 4 * on_cpu(tensor))
    tensor.grad = None
    assert tensor.grad is None


def test_a_tensor_brings_its_gradient(standin: Standin) -> None:
    plain = torch.ones(3, requires_grad=True)
    plain.grad = torch.full((3,), 2.0)
    moved = on_device(plain)
    assert moved.grad.data_ptr() == plain.grad.data_ptr()
    assert view_of(moved.grad)[:2] == (CUDA, 0)


def test_a_module(standin: Standin) -> None:
    module = module_on_device(torch.nn.Linear(3, 2), 1)
    module(torch.randn(4, 3)).sum().backward()
    for param in module.parameters():
        assert isinstance(param, torch.nn.Parameter)
        assert view_of(param)[:2] == view_of(param.grad)[:2] == (CUDA, 1)
