"""A Conan package of the checkout that this file lies in: conan create docs/packaging/conan

The form is that of conan-center-index. There a recipe has source(), which gets a release by the
address and hash in its conandata.yml, in place of set_version() and export_sources().
"""

import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, load
from conan.tools.layout import basic_layout
from conan.tools.scm import Version

required_conan_version = ">=2.0"


class AllfoldConan(ConanFile):
    name = "allfold"
    description = "Data-parallel training and its collectives, header-only"
    license = "MIT"
    topics = ("all-reduce", "collectives", "data-parallel", "distributed-training", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    oldest_compilers = {"gcc": "12", "clang": "16"}

    @property
    def checkout(self):
        return os.path.join(self.recipe_folder, "..", "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self.checkout, "include", "allfold", "config.hpp"))
        numbers = re.findall(r"^#define ALLFOLD_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", header, re.M)
        self.version = ".".join(numbers)

    def export_sources(self):
        for pattern in "LICENSE", "include/*":
            copy(self, pattern, self.checkout, os.path.join(self.export_sources_folder, "src"))

    def layout(self):
        basic_layout(self, src_folder="src")

    def package_id(self):
        self.info.clear()

    def validate(self):
        check_min_cppstd(self, 20)
        compiler = str(self.settings.compiler)
        oldest = self.oldest_compilers.get(compiler)
        if oldest is None or Version(self.settings.compiler.version) < oldest:
            known = " and ".join(map(" ".join, self.oldest_compilers.items()))
            raise ConanInvalidConfiguration(
                f"{self.ref} is for {known} and newer, not for {compiler} "
                f"{self.settings.compiler.version}")

    def build(self):
        """Nothing is compiled."""

    def package(self):
        headers = os.path.join(self.source_folder, "include")
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        for pattern in "*.hpp", "*.cuh":
            copy(self, pattern, headers, os.path.join(self.package_folder, "include"))
        copy(self, "allfold-run", os.path.join(headers, "allfold", "launch"),
             os.path.join(self.package_folder, "bin"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "allfold")
        self.cpp_info.set_property("cmake_target_name", "allfold::allfold")
        self.cpp_info.bindirs = ["bin"]  # allfold-run, where VirtualRunEnv finds it
        self.cpp_info.libdirs = []
        if self.settings.os in ("Linux", "FreeBSD"):
            self.cpp_info.system_libs = ["pthread"]
