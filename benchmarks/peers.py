"""One adapter for each library that `compare` knows, fastconv's own among them.

Nothing is imported before an adapter is asked to build. Each gets its best layout and, where it can, its weights
packed, outside the timing: what is timed is a call whose weights do not change. float32 means float32: OpenVINO is kept
from bfloat16.
"""

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Side(NamedTuple):
    """A case made ready.

    `run` is what is timed; `fetch` turns what it returns into a list of arrays in canonical layout; `keeps` are arrays
    that the library reads and writes without owning them: they must live as long as `run` is called.
    """

    run: Callable
    fetch: Callable
    keeps: tuple = ()


class Peer:
    """A library, or one way of calling it.

    `modules` must be installed; `declines` says why a case is not for this peer, or None;
    `setting` is entered around every use of a side that `build` made, with the same number of threads; it leaves no
    trace, since OpenMP's number of threads is one for all libraries that share the runtime.
    `part` names the part of the work that it does, where that is not the whole, `convolutions` how many cases' worth of
    sums that is.
    """

    modules = ()
    part = ""
    convolutions = 1

    def missing(self):
        names = [name for name in self.modules if importlib.util.find_spec(name) is None]
        return f"{', '.join(names)} not installed" if names else None

    def declines(self, case):
        return None

    def setting(self, threads):
        return contextlib.nullcontext()

    def build(self, case, x, weight, threads):
        raise NotImplementedError


class Fastconv(Peer):
    modules = ("fastconv",)

    def __init__(self, data_format):
        self.data_format = data_format
        self.channel_axis = {"channels_first": 1, "channels_last": -1}[data_format]

    def setting(self, threads):
        import fastconv

        return fastconv.num_threads(threads)

    def build(self, case, x, weight, threads):
        import fastconv

        x = np.ascontiguousarray(np.moveaxis(x, 1, self.channel_axis))
        plan = fastconv.plan(weight, **case.plan_arguments, data_format=self.data_format, input_shape=x.shape)
        out = plan(x)
        return Side(functools.partial(plan, x, out), lambda y: [np.moveaxis(y, self.channel_axis, 1)])


class Torch(Peer):
    """`memory_formats`: by spatial rank; a rank that is not named is declined."""

    modules = ("torch",)

    def __init__(self, memory_formats):
        self.memory_formats = memory_formats

    def declines(self, case):
        return None if case.rank in self.memory_formats else f"no such memory format in {case.rank}-D"

    @contextlib.contextmanager
    def setting(self, threads):
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(before)

    def tensors(self, case, *arrays):
        import torch

        memory_format = getattr(torch, self.memory_formats[case.rank])
        return [torch.from_numpy(array).contiguous(memory_format=memory_format) for array in arrays]

    def build(self, case, x, weight, threads):
        import torch

        x, weight = self.tensors(case, x, weight)
        conv = getattr(torch.nn.functional, f"conv{case.kind}{case.rank}d")
        # By position, which takes PyTorch a little less time than by name.
        rest = (0, case.groups, case.dilation) if case.transposed else (case.dilation, case.groups)
        run = functools.partial(conv, x, weight, None, case.stride, case.padding, *rest)
        return Side(run, lambda y: [y.numpy()])


class TorchPacked(Torch):
    """What a frozen, compiled model calls: oneDNN with weights that were reordered beforehand."""

    def declines(self, case):
        return super().declines(case) or (None if case.dtype == "float32" else "oneDNN packs float32 only")

    def build(self, case, x, weight, threads):
        import torch

        x, weight = self.tensors(case, x, weight)
        mkldnn = torch.ops.mkldnn
        output_padding = [(0,) * case.rank] if case.transposed else []
        geometry = (case.padding, *output_padding, case.stride, case.dilation, case.groups)
        packed = getattr(mkldnn, f"_reorder_convolution{case.kind}_weight")(weight, *geometry, case.x_shape)
        conv = getattr(mkldnn, f"_convolution{case.kind}_pointwise")
        run = functools.partial(conv, x, packed, None, *geometry, "none", [], "")
        return Side(run, lambda y: [y.numpy()])


def onnx_model(case, weight):
    """The bytes of a model with one Conv or ConvTranspose node, its weight a constant in it."""
    from onnx import helper, numpy_helper

    node = helper.make_node(
        "ConvTranspose" if case.transposed else "Conv",
        ["x", "weight"],
        ["y"],
        kernel_shape=case.kernel,
        strides=case.stride,
        pads=case.padding + case.padding,
        dilations=case.dilation,
        group=case.groups,
    )
    element = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("x", element, case.x_shape)],
        [helper.make_tensor_value_info("y", element, case.out_shape)],
        [numpy_helper.from_array(weight, "weight")],
    )
    # An older opset and format than onnx writes by default, so that every runtime at hand reads them.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


class OnnxRuntime(Peer):
    """Input and output are bound once: `run` neither looks names up nor allocates."""

    modules = ("onnxruntime", "onnx")

    def declines(self, case):
        return None if case.dtype == "float32" else "its Conv takes float32 only"

    def build(self, case, x, weight, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(onnx_model(case, weight), options, providers=["CPUExecutionProvider"])
        out = onnxruntime.OrtValue.ortvalue_from_shape_and_type(case.out_shape, np.dtype(case.dtype).type)
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
        binding.bind_ortvalue_output("y", out)
        return Side(functools.partial(session.run_with_iobinding, binding), lambda _: [out.numpy()], (x, out))


class OpenVino(Peer):
    modules = ("openvino", "onnx")

    def declines(self, case):
        return None if case.dtype == "float32" else "its CPU plugin computes in float32 at most"

    def build(self, case, x, weight, threads):
        import openvino

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        request = core.compile_model(core.read_model(onnx_model(case, weight), b""), "CPU", settings)
        request = request.create_infer_request()
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
        return Side(request.infer, lambda _: [request.get_output_tensor().data], (x,))


def new_array(shape, dtype):
    """As fastconv and the frameworks make them: at a cache line."""
    from fastconv._driver import empty

    return empty(shape, dtype)


def centred_crop(case):
    """Where the case's output lies in one of the input's size, whose windows are centred on k // 2."""
    axes = zip(case.kernel, case.padding, case.out_size, strict=True)
    return tuple(slice(k // 2 - pad, k // 2 - pad + size) for k, pad, size in axes)


class ImageFilter(Peer):
    """A library that filters one plane at a time with zeros around it."""

    planes = 1

    def declines(self, case):
        if case.transposed:
            return "has no transposed convolution"
        if not (case.in_channels == case.out_channels == case.groups <= self.planes and case.batch == 1):
            return f"filters {self.planes} plane(s) at most, each on its own"
        if any(n != 1 for n in case.stride + case.dilation):
            return "has no stride and no dilation"
        if any(pad > (k - 1) // 2 for k, pad in zip(case.kernel, case.padding, strict=True)):
            return "no output larger than the input"
        return None


class OpenCv(ImageFilter):
    """`filter2D`, called for each plane: on interleaved planes it is no faster, and has one kernel for all."""

    modules = ("cv2",)
    planes = 3

    def declines(self, case):
        return super().declines(case) or (None if case.rank == 2 else "filters images only")

    @contextlib.contextmanager
    def setting(self, threads):
        import cv2

        before = cv2.getNumThreads()
        cv2.setNumThreads(threads)
        try:
            yield
        finally:
            cv2.setNumThreads(before)

    def build(self, case, x, weight, threads):
        import cv2

        out = new_array(x.shape, x.dtype)
        jobs = [
            functools.partial(cv2.filter2D, x[0, i], -1, weight[i, 0], dst=out[0, i], borderType=cv2.BORDER_CONSTANT)
            for i in range(case.in_channels)
        ]

        def run():
            for job in jobs:
                job()

        return Side(run, lambda _: [out[:, :, *centred_crop(case)]])


class NdImage(ImageFilter):
    modules = ("scipy",)

    def build(self, case, x, weight, threads):
        from scipy import ndimage

        out = new_array(x.shape, x.dtype)
        run = functools.partial(ndimage.correlate, x[0, 0], weight[0, 0], out[0, 0], mode="constant")
        return Side(run, lambda _: [out[:, :, *centred_crop(case)]])


class SciPySignal(ImageFilter):
    """One of `scipy.signal`'s functions for mathematical convolution; `workers` reach its transforms only."""

    modules = ("scipy",)

    def __init__(self, function):
        self.function = function

    def setting(self, threads):
        import scipy.fft

        return scipy.fft.set_workers(threads)

    def build(self, case, x, weight, threads):
        from scipy import signal

        function = getattr(signal, self.function)
        crop = tuple(
            slice(k - 1 - pad, k - 1 - pad + size)
            for k, pad, size in zip(case.kernel, case.padding, case.out_size, strict=True)
        )
        return Side(functools.partial(function, x[0, 0], np.flip(weight[0, 0])), lambda y: [y[None, None, *crop]])


CHANNELS_LAST = {2: "channels_last", 3: "channels_last_3d"}

OURS = {
    "fastconv": Fastconv("channels_first"),
    "fastconv.cl": Fastconv("channels_last"),
}

PEERS = {
    "torch": Torch(dict.fromkeys((1, 2, 3), "contiguous_format")),
    "torch.cl": Torch(CHANNELS_LAST),
    "torch.pack": TorchPacked(CHANNELS_LAST),
    "ort": OnnxRuntime(),
    "openvino": OpenVino(),
    "cv2": OpenCv(),
    "ndimage": NdImage(),
    "sig.fft": SciPySignal("fftconvolve"),
    "sig.oa": SciPySignal("oaconvolve"),
}


def versions(peers):
    """Name → version of every module behind these peers, and of NumPy."""
    names = sorted({"numpy", *(module for peer in peers for module in peer.modules)})
    # OpenVINO's goes on with its build and branch.
    return {name: importlib.import_module(name).__version__.split("-")[0] for name in names}
