"""The kernels, compiled for what any processor of the kind can do: where no other level can be."""
