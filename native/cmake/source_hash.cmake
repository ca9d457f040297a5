# SHA-256 of what the module is built from: one line "SHA-256  path" for each source file in the order of their paths, hashed.
# pipeline/ops/native.py computes the same from the folder and refuses a module that was built from other sources.
function(quintet_source_hash result)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
    bindings/*.?pp bindings/*.cu* include/*.?pp include/*.cu* src/*.?pp src/*.cu* cmake/*.cmake)
  list(APPEND files CMakeLists.txt)
  list(SORT files)
  set(listing "")
  foreach(file IN LISTS files)
    file(SHA256 ${CMAKE_CURRENT_SOURCE_DIR}/${file} digest)
    string(APPEND listing "${digest}  ${file}\n")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  endforeach()
  string(SHA256 digest "${listing}")
  set(${result} ${digest} PARENT_SCOPE)
endfunction()
