"""The compiled modules of fastconv; all else about the package stands in pyproject.toml.

What the compiler can do is found by compiling and linking a tiny program: OpenMP is linked where it is found, and an
ISA level whose flags the compiler does not know is left out. Both are said during the build, and by
``fastconv.show_config()`` afterwards.
"""

import copy
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
    "v2": ["-march=x86-64-v2"],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
FLAGS = ["-O3", "-g0"]  # -g, which Python's own flags may hold, makes compiling take half as long again
# Where the compiler knows them: an eighth less time and code, at the same speed.
FEWER_COPIES_OF_LOOPS = ["-fno-unswitch-loops", "-fno-split-loops"]
BASELINE = "baseline"  # built where no level can be

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

EMPTY_PROGRAM = "int main(void) { return 0; }"

X86_64_PROGRAM = """
#ifndef __x86_64__
#error "not x86-64"
#endif
int main(void) { return 0; }
"""


def extension(name, source, **options):
    """The extension ``fastconv.<name>``, from a .pyx file of the package."""
    return Extension(
        f"fastconv.{name}", [str(PACKAGE / source)], depends=SHARED_SOURCES, extra_compile_args=[*FLAGS], **options
    )


# What takes longest to compile comes first, so that all cores are busy to the end.
EXTENSIONS = [
    *(
        extension(f"_kernels.{level}.{part}", f"_kernels/{part}.pyx")
        for part in ("forward", "backward")
        for level in [*LEVELS, BASELINE]
    ),
    extension("_driver", "_driver.pyx", include_dirs=[numpy.get_include()]),
    extension("_recent", "_recent.pyx", include_dirs=[numpy.get_include()]),
    extension("_openmp", "_openmp.pyx"),
    extension("_cpu", "_cpu.pyx"),
]
USING_OPENMP = {"fastconv._openmp", "fastconv._driver"}  # the kernels hold none


def level_of(ext):
    """The level of a module of kernels: the folder that it lies in."""
    return ext.name.split(".")[-2]


def module_of(source):
    """The name of a .pyx file as a module."""
    return ".".join(Path(source).relative_to("src").with_suffix("").parts)


class Build(build_ext):
    """Probes the compiler, translates the Cython sources, and compiles, all cores at once."""

    def finalize_options(self):
        super().finalize_options()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.parallel = self.parallel or cores

    def build_extensions(self):
        compile_openmp, link_openmp = self.openmp_flags()
        levels = self.level_flags()
        fewer_copies = FEWER_COPIES_OF_LOOPS if self.links(EMPTY_PROGRAM, FEWER_COPIES_OF_LOOPS) else []
        self.extensions = [
            ext for ext in self.extensions if level_of(ext) in levels or not ext.name.startswith("fastconv._kernels.")
        ]
        for ext in self.extensions:
            ext.extra_compile_args += fewer_copies + levels.get(level_of(ext), [])
            if ext.name in USING_OPENMP:
                ext.extra_compile_args += compile_openmp
                ext.extra_link_args += link_openmp
        self.translate()
        super().build_extensions()

    def translate(self):
        """Replace the Cython sources by the C sources made of them, each once for all levels."""
        sources = dict.fromkeys(source for ext in self.extensions for source in ext.sources)
        # Where processes are spawned, not forked, each one would run this file again.
        processes = self.parallel if multiprocessing.get_start_method() == "fork" else 0
        cythonize(
            [Extension(module_of(source), [source]) for source in sources],
            include_path=["src"],
            nthreads=processes,
            force=self.force,
            compiler_directives={"language_level": 3, "cdivision": True, "initializedcheck": False},
        )
        for ext in self.extensions:
            ext.sources = [str(Path(source).with_suffix(".c")) for source in ext.sources]

    def build_extension(self, ext):
        """With the objects of each level in a folder of their own: all are made of the same source."""
        own = copy.copy(self)
        own.build_temp = str(Path(self.build_temp, ext.name))
        build_ext.build_extension(own, ext)

    def openmp_flags(self):
        for flags in OPENMP_SPELLINGS:
            if self.links(OPENMP_PROGRAM, *flags):
                return flags
        self.warn("the compiler has no OpenMP: building for one thread")
        return [], []

    def level_flags(self):
        """Level → flags, for those that this compiler can build."""
        levels = {}
        for level, flags in LEVELS.items():
            if self.links(X86_64_PROGRAM, flags):
                levels[level] = flags
            else:
                self.warn(f"the compiler refuses {' '.join(flags)}: leaving {level} out")
        return levels or {BASELINE: []}

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
