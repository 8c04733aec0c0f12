// SPDX-License-Identifier: GPL-2.0

/* Makes the tracepoints that luo/ffi/trace.rs calls. */

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "luo_trace.h"
