# SPDX-License-Identifier: Apache-2.0
# How a module, a program and a unit test are declared.

# mm_library(name SOURCES a.c b.c LINK other libraries): a static library mm_<name>.
function(mm_library name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_library(mm_${name} STATIC ${ARG_SOURCES})
    target_link_libraries(mm_${name} PUBLIC mm_flags ${ARG_LINK})
endfunction()

# mm_program(name SOURCES main.c LINK libraries): an executable in the build's top folder.
function(mm_program name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE mm_flags ${ARG_LINK})
endfunction()

# mm_unit_test(name LINK libraries): tests/unit/test_<name>.c, a cmocka program with the label `unit`.
function(mm_unit_test name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_executable(test_${name} ${PROJECT_SOURCE_DIR}/tests/unit/test_${name}.c ${ARG_SOURCES})
    target_link_libraries(test_${name} PRIVATE mm_flags ${ARG_LINK} PkgConfig::CMOCKA)
    set_target_properties(test_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME unit.${name} COMMAND test_${name})
    set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 120)
endfunction()
