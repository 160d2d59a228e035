# SPDX-License-Identifier: Apache-2.0
mm_unit_test(store LINK mm_store)
