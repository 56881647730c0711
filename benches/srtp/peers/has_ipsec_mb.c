// SPDX-License-Identifier: Apache-2.0 OR MIT

// Goes through the preprocessor where ipsec-mb is installed without a .pc file.

#include <intel-ipsec-mb.h>
