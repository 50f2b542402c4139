"""The convolutions that everything here is timed on.

A name reads: family, kernel, stride (s), dilation (d), groups (g), channels in>out, @ input size; the family ``tr`` is
of transposed convolutions.
"""

import math
from dataclasses import dataclass

import numpy as np

PER_AXIS = ("kernel", "stride", "padding", "dilation")
# A kernel of this many taps along an axis is a filter: nobody trains it.
FILTER = 15


@dataclass(frozen=True)
class Case:
    """One convolution; an integer for a field with one entry per spatial axis holds for all axes.

    Examples
    --------
    >>> case = Case(1, 3, (224, 224), 64, 7, stride=2, padding=3)
    >>> case.kernel, case.out_size, case.flops
    ((7, 7), (112, 112), 236027904)
    """

    batch: int
    in_channels: int
    size: tuple[int, ...]
    out_channels: int
    kernel: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    dtype: str = "float32"
    transposed: bool = False

    def __post_init__(self):
        for field in PER_AXIS:
            value = getattr(self, field)
            if isinstance(value, int):
                object.__setattr__(self, field, (value,) * self.rank)

    @property
    def rank(self):
        return len(self.size)

    @property
    def x_shape(self):
        return (self.batch, self.in_channels, *self.size)

    @property
    def weight_shape(self):
        first, second = self.out_channels, self.in_channels
        if self.transposed:
            first, second = second, first
        return (first, second // self.groups, *self.kernel)

    @property
    def out_size(self):
        axes = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        if self.transposed:
            return tuple((size - 1) * step - 2 * pad + d * (k - 1) + 1 for size, k, step, pad, d in axes)
        return tuple((size + 2 * pad - d * (k - 1) - 1) // step + 1 for size, k, step, pad, d in axes)

    @property
    def out_shape(self):
        return (self.batch, self.out_channels, *self.out_size)

    @property
    def flops(self):
        """Multiply-adds of the direct sum, two flops each."""
        times = self.size if self.transposed else self.out_size  # that the kernel is laid somewhere
        return 2 * self.batch * math.prod(times) * math.prod(self.weight_shape)

    @property
    def density(self):
        """Dense where a GEMM has 64 channels on both sides, thin everywhere else."""
        return "dense" if min(self.in_channels, self.out_channels) // self.groups >= 64 else "thin"

    @property
    def kind(self):
        """What the names of functions for transposed convolutions have more, ours and PyTorch's."""
        return "_transpose" if self.transposed else ""

    @property
    def arguments(self):
        """What fastconv's functions take beside the arrays."""
        return dict(stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)

    @property
    def plan_arguments(self):
        """What `fastconv.plan` takes; for forward cases what all its versions know, since asv goes back to old ones."""
        return self.arguments | ({"transposed": True} if self.transposed else {})

    @property
    def trained(self):
        """Whether the gradients are timed as well."""
        return max(self.kernel) < FILTER

    def arrays(self):
        """Random input and weight between -1 and 1, the same on every call."""
        return tuple(self._random(0, self.x_shape, self.weight_shape))

    def grad_output(self):
        """A random gradient with respect to the output, the same on every call."""
        return next(self._random(1, self.out_shape))

    def _random(self, seed, *shapes):
        rng = np.random.default_rng(seed)
        return (rng.uniform(-1, 1, shape).astype(self.dtype) for shape in shapes)


CASES = {
    # ResNet-50, batches of 1 and 16
    "resnet.conv1 7x7s2 3>64@224": Case(1, 3, (224, 224), 64, 7, 2, 3),
    "resnet.1x1 64>256@56": Case(1, 64, (56, 56), 256, 1),
    "resnet.1x1 256>64@56": Case(1, 256, (56, 56), 64, 1),
    "resnet.3x3 64>64@56": Case(1, 64, (56, 56), 64, 3, 1, 1),
    "resnet.3x3s2 128>128@56": Case(1, 128, (56, 56), 128, 3, 2, 1),
    "resnet.3x3 128>128@28": Case(1, 128, (28, 28), 128, 3, 1, 1),
    "resnet.1x1s2 256>512@56": Case(1, 256, (56, 56), 512, 1, 2),
    "resnet.3x3 256>256@14": Case(1, 256, (14, 14), 256, 3, 1, 1),
    "resnet.1x1 1024>256@14": Case(1, 1024, (14, 14), 256, 1),
    "resnet.3x3 512>512@7": Case(1, 512, (7, 7), 512, 3, 1, 1),
    "resnet.1x1 512>2048@7": Case(1, 512, (7, 7), 2048, 1),
    "resnet.b16 3x3 64>64@56": Case(16, 64, (56, 56), 64, 3, 1, 1),
    "resnet.b16 3x3 256>256@14": Case(16, 256, (14, 14), 256, 3, 1, 1),
    # VGG-16
    "vgg.3x3 3>64@224": Case(1, 3, (224, 224), 64, 3, 1, 1),
    "vgg.3x3 64>64@224": Case(1, 64, (224, 224), 64, 3, 1, 1),
    "vgg.3x3 256>256@56": Case(1, 256, (56, 56), 256, 3, 1, 1),
    "vgg.3x3 512>512@28": Case(1, 512, (28, 28), 512, 3, 1, 1),
    # depthwise and grouped
    "dw.3x3 32@112": Case(1, 32, (112, 112), 32, 3, 1, 1, groups=32),
    "dw.3x3s2 96@112": Case(1, 96, (112, 112), 96, 3, 2, 1, groups=96),
    "dw.3x3 384@14": Case(1, 384, (14, 14), 384, 3, 1, 1, groups=384),
    "dw.7x7 96@56": Case(1, 96, (56, 56), 96, 7, 1, 3, groups=96),
    "dw.31x31 128@56": Case(1, 128, (56, 56), 128, 31, 1, 15, groups=128),
    "grp.3x3g32 128@56": Case(1, 128, (56, 56), 128, 3, 1, 1, groups=32),
    # dilated
    "dil.3x3d2 256>256@28": Case(1, 256, (28, 28), 256, 3, 1, 2, 2),
    "dil.3x3d12 512>256@33": Case(1, 512, (33, 33), 256, 3, 1, 12, 12),
    # 5x5
    "incep.5x5 32>64@28": Case(1, 32, (28, 28), 64, 5, 1, 2),
    # 1-D
    "1d.k3d8 64>64@16000": Case(1, 64, (16000,), 64, 3, 1, 8, 8),
    "1d.k10s5 1>512@16000": Case(1, 1, (16000,), 512, 10, 5),
    "1d.k3s2 512>512@3199": Case(1, 512, (3199,), 512, 3, 2),
    "1d.k1024 1>1@160000": Case(1, 1, (160000,), 1, 1024),
    # 3-D
    "3d.3x3x3 64>64@16x56x56": Case(1, 64, (16, 56, 56), 64, 3, 1, 1),
    "3d.3x3x3 16>32@64^3": Case(1, 16, (64, 64, 64), 32, 3, 1, 1),
    "3d.3x3x3 1>16@64^3": Case(1, 1, (64, 64, 64), 16, 3, 1, 1),
    # transposed
    "tr.4x4s2 512>256@8": Case(1, 512, (8, 8), 256, 4, 2, 1, transposed=True),
    "tr.2x2s2 128>64@64": Case(1, 128, (64, 64), 64, 2, 2, transposed=True),
    # image filters
    "img.5x5 1>1@1080p": Case(1, 1, (1080, 1920), 1, 5, 1, 2),
    "img.15x15 1>1@1080p": Case(1, 1, (1080, 1920), 1, 15, 1, 7),
    "img.63x63 1>1@1080p": Case(1, 1, (1080, 1920), 1, 63, 1, 31),
    "img.5x5 f64 1>1@1080p": Case(1, 1, (1080, 1920), 1, 5, 1, 2, dtype="float64"),
    "img.5x5 3>3@1080p": Case(1, 3, (1080, 1920), 3, 5, 1, 2, groups=3),
    # small calls
    "small.3x3 1>8@28": Case(1, 1, (28, 28), 8, 3, 1, 1),
    "small.5x5 6>16@14": Case(1, 6, (14, 14), 16, 5),
    "small.3x3 1>1@8": Case(1, 1, (8, 8), 1, 3),
    # float64
    "f64.3x3 64>64@56": Case(1, 64, (56, 56), 64, 3, 1, 1, dtype="float64"),
    "f64.1x1 256>64@56": Case(1, 256, (56, 56), 64, 1, dtype="float64"),
}
