# Makes the package that docs/packaging/vcpkg describes in PACKAGE, without vcpkg: its functions are
# here as far as a header-only library needs them. What vcpkg itself says of the port is not seen so.
cmake_minimum_required(VERSION 3.25)

set(port_folder "${CMAKE_CURRENT_LIST_DIR}/../../docs/packaging/vcpkg")
set(CURRENT_PACKAGES_DIR "${PACKAGE}")

file(READ "${port_folder}/vcpkg.json" manifest)
string(JSON PORT GET "${manifest}" name)
string(JSON version GET "${manifest}" version)
if(NOT version STREQUAL EXPECTED_VERSION)
  message(FATAL_ERROR "vcpkg.json says version ${version}, and config.hpp ${EXPECTED_VERSION}")
endif()

function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 with "" "SOURCE_PATH" "OPTIONS")
  execute_process(COMMAND ${CMAKE_COMMAND} -S "${with_SOURCE_PATH}" -B "${PACKAGE}.build"
    -DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR} ${with_OPTIONS} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

function(vcpkg_cmake_install)
  execute_process(COMMAND ${CMAKE_COMMAND} --install "${PACKAGE}.build" COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# Moves the CMake package to share/<port>, and tells it so.
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 with "" "CONFIG_PATH" "")
  set(share "${CURRENT_PACKAGES_DIR}/share/${PORT}")
  file(RENAME "${CURRENT_PACKAGES_DIR}/${with_CONFIG_PATH}" "${share}")
  file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/cmake")
  set(up "\nget_filename_component(_IMPORT_PREFIX \"\${_IMPORT_PREFIX}\" PATH)")
  file(READ "${share}/${PORT}Targets.cmake" targets)
  string(REPLACE "${up}${up}${up}" "${up}${up}" moved "${targets}")
  if(moved STREQUAL targets)
    message(FATAL_ERROR "${PORT}Targets.cmake does not look for its prefix as it used to")
  endif()
  file(WRITE "${share}/${PORT}Targets.cmake" "${moved}")
endfunction()

function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 with "" "" "FILE_LIST")
  file(INSTALL ${with_FILE_LIST} DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}"
       RENAME copyright)
endfunction()

file(REMOVE_RECURSE "${PACKAGE}" "${PACKAGE}.build")
include("${port_folder}/portfile.cmake")

# What vcpkg expects of a package.
foreach(file IN ITEMS share/${PORT}/copyright share/${PORT}/usage share/${PORT}/${PORT}Config.cmake
        include/allfold/allfold.hpp tools/${PORT}/allfold-run)
  if(NOT EXISTS "${PACKAGE}/${file}")
    message(FATAL_ERROR "the package lacks ${file}")
  endif()
endforeach()
file(GLOB folders RELATIVE "${PACKAGE}" "${PACKAGE}/*")
if(NOT folders STREQUAL "include;share;tools")
  message(FATAL_ERROR "the package holds '${folders}'")
endif()
