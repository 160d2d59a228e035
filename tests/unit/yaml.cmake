# SPDX-License-Identifier: Apache-2.0
foreach(module yaml schema problems)
    mm_unit_test(${module} LINK mm_util)
endforeach()
