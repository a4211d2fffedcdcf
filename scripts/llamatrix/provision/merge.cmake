# Compiles small files of the same kind together: each reads the headers of all again.
#
# CMake includes it in llama.cpp's top project (CMAKE_PROJECT_INCLUDE). No file that computes
# is touched: everything of ggml, and llama's core, keeps the command that it has without
# this file. Pins that merge a target themselves keep their own way.
#
# LLAMATRIX_MERGE=OFF compiles every file for itself: the answer where merged files do not
# compile, as when two have a function of one name.
option(LLAMATRIX_MERGE "compile small files of a kind together" ON)

function(llamatrix_merge target folder size)
  if(NOT TARGET ${target})
    return()
  endif()
  get_target_property(merged ${target} UNITY_BUILD)
  get_target_property(mode ${target} UNITY_BUILD_MODE)
  if(merged AND NOT mode STREQUAL "GROUP")
    return()
  endif()
  get_target_property(files ${target} SOURCES)
  get_target_property(base ${target} SOURCE_DIR)
  list(FILTER files INCLUDE REGEX "(^|/)${folder}/[^/]*\\.cpp$")
  list(SORT files)
  list(LENGTH files count)
  if(count LESS 2)
    return()
  endif()
  set(count 0)
  foreach(file IN LISTS files)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${base} NORMALIZE)
    math(EXPR number "${count} / ${size}")
    set_property(SOURCE ${file} TARGET_DIRECTORY ${target} PROPERTY UNITY_GROUP ${folder}-${number})
    math(EXPR count "${count} + 1")
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()

function(llamatrix_merge_all)
  llamatrix_merge(llama models 16)
  llamatrix_merge(mtmd models 16)
  foreach(target common llama-common) # its older and its newer name
    llamatrix_merge(${target} parsers 8)
    llamatrix_merge(${target} jinja 3)
  endforeach()
endfunction()

if(LLAMATRIX_MERGE AND PROJECT_IS_TOP_LEVEL)
  cmake_language(DEFER CALL llamatrix_merge_all)
endif()
