# cmake -P check.cmake -- <source> <compiler command line...>
#
# The source must compile with -DPOSITIVE_CONTROL, which shows that the rest of it is right. Without,
# it must not compile, and what the compiler says must match the expression in the first line. The
# command line keeps the compiler from echoing source lines, so that only messages are matched.
cmake_minimum_required(VERSION 3.25)

set(arguments)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE 4 ${last})
  list(APPEND arguments "${CMAKE_ARGV${i}}")
endforeach()
list(POP_FRONT arguments source)

file(STRINGS "${source}" first_line LIMIT_COUNT 1)
if(NOT first_line MATCHES "^// expect: (.+)$")
  message(FATAL_ERROR "The first line of ${source} is not '// expect: <regular expression>'.")
endif()
set(expected "${CMAKE_MATCH_1}")
set(ENV{LC_ALL} C)

execute_process(COMMAND ${arguments} -DPOSITIVE_CONTROL
                RESULT_VARIABLE result OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(NOT result EQUAL 0)
  message("${said}")
  message(FATAL_ERROR "With POSITIVE_CONTROL it should compile, and does not.")
endif()

execute_process(COMMAND ${arguments}
                RESULT_VARIABLE result OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(result EQUAL 0)
  message(FATAL_ERROR "It should not compile, and does.")
endif()
string(REPLACE "${source}" "<source>" said "${said}")  # the file's own name must not match
if(NOT said MATCHES "${expected}")
  message("${said}")
  message(FATAL_ERROR "It does not compile, but not one message matches '${expected}'.")
endif()
string(REGEX MATCHALL "[^\n]*(${expected})[^\n]*" matches "${said}")
list(GET matches 0 match)
message("refused: ${match}")
