# Installs the build, builds a project that finds it, and runs that on MODEL.
#   cmake -DBUILD=... -DSOURCE=... -DWORK=... -DMODEL=... -P install.cmake
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGV}: ${output}")
  endif()
endfunction()
file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/use -DCMAKE_PREFIX_PATH=${WORK}/prefix
  -DCMAKE_CXX_COMPILER=${COMPILER})
run(${CMAKE_COMMAND} --build ${WORK}/use)
run(${WORK}/use/use_slim ${MODEL})
run(${WORK}/prefix/bin/slim --version)
file(REMOVE_RECURSE ${WORK})
