"""What a call would do, and why, as an object to read."""

from dataclasses import dataclass

from ._algorithms import declined


@dataclass(frozen=True)
class Explanation:
    """How a convolution is computed.

    Attributes
    ----------
    algorithm : str
        Name of the implementation that runs.
    kernel : str
        What of it runs.
    declined : dict
        The implementations that cannot do this: name → why.
    flops : int
        Two for each multiply-add of the direct sum.
    workspace_bytes : int
        Working memory of a thread, beyond the arrays and the packed weights; of functions on small maps, those that a
        block packs for itself are in it.

    Examples
    --------
    >>> import fastconv
    >>> explanation = fastconv.explain((8, 28, 28), (16, 8, 3, 3), algorithm="reference")
    >>> explanation.algorithm, explanation.flops
    ('reference', 1557504)
    >>> print(explanation)
    algorithm        reference
    kernel           numpy
    flops            1557504
    workspace_bytes  ...
    """

    algorithm: str
    kernel: str
    declined: dict
    flops: int
    workspace_bytes: int

    @classmethod
    def of(cls, prepared):
        """The explanation of what a ``_tasks.Tasks`` has prepared."""
        parts = prepared.parts
        return cls(
            algorithm=_names(part.algorithm.name for part in parts),
            kernel=_names(part.task.kernel for part in parts),
            declined={
                name: why
                for part in parts
                for geometry in part.convolutions
                for name, why in declined(geometry).items()
            },
            flops=prepared.geometry.flops,
            workspace_bytes=max((part.task.workspace_bytes for part in parts), default=0),
        )

    def __str__(self):
        rows = {name: getattr(self, name) for name in ("algorithm", "kernel", "flops", "workspace_bytes")}
        rows |= {f"not {name}": why for name, why in self.declined.items()}
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())


def _names(names):
    """Each once; nothing runs where there is nothing to multiply."""
    return ", ".join(dict.fromkeys(names)) or "none"
