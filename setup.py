"""Build commands: the Go library and its cffi module, and a wheel for every Python of a platform."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import SubCommand, build

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "build_backend"))

import go_library  # noqa: E402

PACKAGE = "guillotina_groupcache"
FFI_MODULE = "_native_abi.py"
FFI_SOURCE = f"{PACKAGE}/native_build.py"


class BuildNative(Command, SubCommand):
    """`build_native`: compile the library and write the cffi module, into the build or the source tree."""

    description = "compile the Go library and write its cffi module"
    user_options: ClassVar = [("inplace", "i", "write both into the source tree")]
    boolean_options: ClassVar = ["inplace"]

    def initialize_options(self) -> None:
        self.build_lib = None
        self.inplace = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        in_tree = self.inplace or self.editable_mode
        package = ROOT / PACKAGE if in_tree else Path(self.build_lib) / PACKAGE
        package.mkdir(parents=True, exist_ok=True)
        go_library.build(package / go_library.LIBRARY)
        # Run by path: importing the package would need Guillotina in the build environment.
        ffi = runpy.run_path(str(ROOT / FFI_SOURCE))["ffi"]
        ffi.emit_python_code(str(package / FFI_MODULE))

    def get_source_files(self) -> list[str]:
        return [FFI_SOURCE]

    def get_outputs(self) -> list[str]:
        return [str(Path(self.build_lib) / PACKAGE / name) for name in (go_library.LIBRARY, FFI_MODULE)]

    def get_output_mapping(self) -> dict[str, str]:
        if not self.editable_mode:
            return {}
        return {output: f"{PACKAGE}/{Path(output).name}" for output in self.get_outputs()}


class Build(build):
    """`build` with the native part last, so that it replaces what an editable install left in the tree."""

    sub_commands: ClassVar = [*build.sub_commands, ("build_native", None)]


class PlatformWheel(bdist_wheel):
    """A wheel without a Python tag: the library is called by cffi in ABI mode, whatever the Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


class PlatformDistribution(Distribution):
    """A distribution that belongs in the platform's directory though it has no C extension."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    distclass=PlatformDistribution,
    cmdclass={"build": Build, "build_native": BuildNative, "bdist_wheel": PlatformWheel},
)
