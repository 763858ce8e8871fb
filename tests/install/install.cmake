# Installs BUILD to PREFIX, by way of another folder: what is installed must bear being moved.
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${PREFIX}" "${PREFIX}.moved")
execute_process(COMMAND ${CMAKE_COMMAND} --install "${BUILD}" --prefix "${PREFIX}.moved"
                COMMAND_ERROR_IS_FATAL ANY)
file(RENAME "${PREFIX}.moved" "${PREFIX}")
