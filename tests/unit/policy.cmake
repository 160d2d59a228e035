# SPDX-License-Identifier: Apache-2.0
foreach(module policy decide diff)
    mm_unit_test(${module} LINK mm_policy)
endforeach()
