# SPDX-License-Identifier: Apache-2.0
mm_unit_test(draft LINK mm_issue)
mm_unit_test(refusals LINK mm_issue)
