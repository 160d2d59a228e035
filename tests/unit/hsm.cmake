# SPDX-License-Identifier: Apache-2.0
mm_unit_test(protocol LINK mm_hsm_protocol)
mm_unit_test(sentence LINK mm_hsm_module)
