# SPDX-License-Identifier: Apache-2.0
# Warnings and hardening, on the one target that everything links.
add_library(mm_flags INTERFACE)

target_compile_definitions(mm_flags INTERFACE _GNU_SOURCE MM_VERSION="${PROJECT_VERSION}")
target_include_directories(mm_flags INTERFACE
    ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)

target_compile_options(mm_flags INTERFACE
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wformat=2 -Wundef
    -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wconversion -Wno-sign-conversion
    -fstack-protector-strong -fstack-clash-protection -fno-strict-aliasing -fvisibility=hidden)
target_link_options(mm_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64")
    target_compile_options(mm_flags INTERFACE -fcf-protection)
endif()
if(MM_WERROR)
    target_compile_options(mm_flags INTERFACE -Werror)
endif()
if(MM_SANITIZE)
    target_compile_options(mm_flags INTERFACE -fsanitize=${MM_SANITIZE} -fno-omit-frame-pointer
        -fno-sanitize-recover=all)
    target_link_options(mm_flags INTERFACE -fsanitize=${MM_SANITIZE})
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    target_compile_options(mm_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()

# Programmer errors assert in every build: no NDEBUG.
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
