"""grad_weight: the gradient of a convolution with respect to its weight."""

from ._algorithms._reference import grad_weight as grad_weight
