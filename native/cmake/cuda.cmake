# CUDA where it is wanted and there: CMAKE_CUDA_COMPILER is set, and `quintet_cuda_library` makes the library of all of src/cuda.
if(NOT QUINTET_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "QUINTET_CUDA is '${QUINTET_CUDA}': it must be AUTO, ON or OFF")
endif()
if(NOT QUINTET_CUDA STREQUAL OFF)
  # An A100, an H100 with its own instructions, and code that the driver translates for whatever comes after them.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 80-virtual)
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
  elseif(QUINTET_CUDA STREQUAL ON)
    message(FATAL_ERROR "QUINTET_CUDA is ON, but no working nvcc is found: install the CUDA toolkit (12.8 or later) and put its bin folder "
      "in PATH, or set CUDACXX to nvcc")
  endif()
  if(CMAKE_CUDA_COMPILER_VERSION AND CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
    message(FATAL_ERROR "${CMAKE_CUDA_COMPILER} is of CUDA ${CMAKE_CUDA_COMPILER_VERSION}, but 12.8 or later is needed: install it, or "
      "set QUINTET_CUDA to OFF")
  endif()
endif()

function(quintet_cuda_library name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.cu)
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/include)
  set_target_properties(${name} PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY Static
    CUDA_VISIBILITY_PRESET hidden)
  # No contraction: int8 products give the CPU's bytes, and a kernel that wants a fused multiply-add says fmaf.
  list(JOIN warnings "," host_warnings)
  list(JOIN paths "," host_paths)
  target_compile_options(${name} PRIVATE --fmad=false --expt-relaxed-constexpr --Werror=all-warnings "-Xcompiler=${host_warnings},${host_paths}")
endfunction()
