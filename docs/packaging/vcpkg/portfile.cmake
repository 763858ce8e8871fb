# A port of the checkout that it lies in, as an overlay:
#   vcpkg install allfold --overlay-ports=docs/packaging/vcpkg
# In a registry, vcpkg_from_git() or its like brings a release in place of the next line.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

set(VCPKG_BUILD_TYPE release) # nothing is compiled
vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DALLFOLD_BUILD_TESTS=OFF
    -DALLFOLD_BUILD_EXAMPLES=OFF
    -DALLFOLD_BUILD_BENCH=OFF
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/allfold)

# vcpkg keeps bin/ for what was compiled.
file(MAKE_DIRECTORY "${CURRENT_PACKAGES_DIR}/tools/${PORT}")
file(RENAME "${CURRENT_PACKAGES_DIR}/bin/allfold-run"
            "${CURRENT_PACKAGES_DIR}/tools/${PORT}/allfold-run")
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/bin" "${CURRENT_PACKAGES_DIR}/share/doc")

file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
