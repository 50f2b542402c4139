"""The compiled modules of fastconv; all else about the package stands in pyproject.toml.

What the compiler can do is found by compiling and linking a tiny program: OpenMP is linked where it is found, and an
ISA level whose flags the compiler does not know is left out. Both are said during the build, and by
``fastconv.show_config()`` afterwards.
"""

import multiprocessing
import os
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

PACKAGE = Path("src/fastconv")
SHARED_SOURCES = sorted(str(path) for kind in ("pxi", "pxd", "h") for path in PACKAGE.rglob(f"*.{kind}"))

# The kernels' one source, compiled once for each level. Never -march=native (its binaries die elsewhere), never
# -ffast-math (it changes the floating point of the whole process).
LEVELS = {
    "_v2": ["-march=x86-64-v2"],
    "_v3": ["-march=x86-64-v3"],
    "_v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
FLAGS = ["-O3", "-g0"]  # -g, which Python's own flags may hold, makes compiling take half as long again
BASELINE = "_baseline"  # built where no level can be

# (flags to compile, flags to link); the second pair is for Apple's clang with Homebrew's or conda's libomp.
OPENMP_SPELLINGS = [
    (["-fopenmp"], ["-fopenmp"]),
    (["-Xpreprocessor", "-fopenmp"], ["-lomp"]),
]

OPENMP_PROGRAM = """
#include <omp.h>
int main(void) {
    int threads = 0;
    #pragma omp parallel reduction(+:threads)
    threads += omp_get_num_threads();
    return threads == 0;
}
"""

X86_64_PROGRAM = """
#ifndef __x86_64__
#error "not x86-64"
#endif
int main(void) { return 0; }
"""


def extension(name, **options):
    """The extension ``fastconv.<name>``, from the .pyx file of that name."""
    source = PACKAGE.joinpath(*name.split(".")).with_suffix(".pyx")
    return Extension(f"fastconv.{name}", [str(source)], depends=SHARED_SOURCES, extra_compile_args=[*FLAGS], **options)


EXTENSIONS = [
    extension("_cpu"),
    extension("_openmp"),
    extension("_driver", include_dirs=[numpy.get_include()]),
    extension("_recent", include_dirs=[numpy.get_include()]),
    *(extension(f"_kernels.{level}") for level in [*LEVELS, BASELINE]),
]
EXTENSIONS.reverse()  # the kernels first, the one that takes longest before the others: cores are busy to the end
USING_OPENMP = {"fastconv._openmp", "fastconv._driver"}  # the kernels hold none


class Build(build_ext):
    """Probes the compiler, translates the Cython sources, and compiles, all cores at once."""

    def finalize_options(self):
        super().finalize_options()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.parallel = self.parallel or cores

    def build_extensions(self):
        compile_openmp, link_openmp = self.openmp_flags()
        kernels = self.kernel_flags()
        self.extensions = [
            ext for ext in self.extensions
            if ext.name in kernels or not ext.name.startswith("fastconv._kernels.")
        ]
        for ext in self.extensions:
            ext.extra_compile_args += kernels.get(ext.name, [])
            if ext.name in USING_OPENMP:
                ext.extra_compile_args += compile_openmp
                ext.extra_link_args += link_openmp
        self.translate()
        super().build_extensions()

    def translate(self):
        """Replace the Cython sources by the C sources made of them."""
        # Where processes are spawned, not forked, each one would run this file again.
        processes = self.parallel if multiprocessing.get_start_method() == "fork" else 0
        translated = cythonize(
            self.extensions,
            include_path=["src"],
            nthreads=processes,
            force=self.force,
            compiler_directives={"language_level": 3, "cdivision": True, "initializedcheck": False},
        )
        sources = {ext.name: ext.sources for ext in translated}
        for ext in self.extensions:
            ext.sources = sources[ext.name]

    def openmp_flags(self):
        for flags in OPENMP_SPELLINGS:
            if self.links(OPENMP_PROGRAM, *flags):
                return flags
        self.warn("the compiler has no OpenMP: building for one thread")
        return [], []

    def kernel_flags(self):
        """Name of the extension → flags, for the kernels that this compiler can build."""
        levels = {}
        for level, flags in LEVELS.items():
            if self.links(X86_64_PROGRAM, flags):
                levels[level] = flags
            else:
                self.warn(f"the compiler refuses {' '.join(flags)}: leaving {level} out")
        return {f"fastconv._kernels.{level}": flags for level, flags in (levels or {BASELINE: []}).items()}

    def links(self, program, compile_flags, link_flags=()):
        """Whether the program compiles and links with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(program)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=compile_flags)
                self.compiler.link_executable(
                    objects, "probe", output_dir=folder, extra_postargs=list(link_flags)
                )
            except (CompileError, LinkError):
                return False
            return True


setup(ext_modules=EXTENSIONS, cmdclass={"build_ext": Build})
