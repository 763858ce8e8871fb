# Inside another project the library brings itself, and nothing else.
foreach(option IN ITEMS BUILD_TESTS BUILD_EXAMPLES BUILD_BENCH INSTALL WARNINGS_AS_ERRORS)
  if(NOT DEFINED ALLFOLD_${option} OR ALLFOLD_${option})
    message(FATAL_ERROR "ALLFOLD_${option} is '${ALLFOLD_${option}}' and should be OFF here")
  endif()
endforeach()
