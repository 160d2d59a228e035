# SPDX-License-Identifier: Apache-2.0
# The profiles of HSMs as a C file: cmake -DFILES="a.yaml;b.yaml" -DOUTPUT=profiles.c -P embed_profiles.cmake
set(arrays "")
set(table "")
foreach(file IN LISTS FILES)
    cmake_path(GET file STEM name)
    string(MAKE_C_IDENTIFIER "${name}" symbol)
    string(TOUPPER "${symbol}" symbol)
    file(READ "${file}" bytes HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
    string(REGEX REPLACE "(................................................................................)" "\\1\n"
        bytes "${bytes}")
    string(APPEND arrays "static const unsigned char ${symbol}[] = {\n${bytes}\n};\n")
    string(APPEND table "    {\"${name}\", ${symbol}, sizeof ${symbol}},\n")
endforeach()
file(WRITE "${OUTPUT}" "/* Made by cmake/embed_profiles.cmake from hsm/profiles/. */
#include \"config/profile.h\"

${arrays}
const struct mm_embedded_profile MM_EMBEDDED_PROFILES[] = {
${table}    {0},
};
")
