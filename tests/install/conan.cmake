# Makes the package of docs/packaging/conan with the program CONAN, and lets its test_package use it;
# all of that is in FOLDER.
cmake_minimum_required(VERSION 3.25)

function(conan)
  execute_process(COMMAND "${CONAN}" ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE "${FOLDER}")
set(ENV{CONAN_HOME} "${FOLDER}/home")
conan(profile detect)
conan(create "${CMAKE_CURRENT_LIST_DIR}/../../docs/packaging/conan" --no-remote
  -s compiler.cppstd=20 -s build_type=Debug
  -c tools.cmake.cmake_layout:test_folder=${FOLDER}/test_package)

# Fails unless that is its version.
execute_process(COMMAND "${CONAN}" list "allfold/${EXPECTED_VERSION}" --format=json
                OUTPUT_VARIABLE known COMMAND_ERROR_IS_FATAL ANY)
string(JSON found GET "${known}" "Local Cache" "allfold/${EXPECTED_VERSION}")
