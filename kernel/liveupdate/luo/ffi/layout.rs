// SPDX-License-Identifier: GPL-2.0

//! Compile-time checks of [`luo_core::wire`] against the headers of this kernel.

use core::mem::offset_of;

use kernel::{
    bindings,
    static_assert, //
};
use luo_core::{
    name::{
        Compatible,
        SessionName, //
    },
    wire, //
};

/// A structure of the handover, in Rust and in C: its size and the place of each member.
macro_rules! same {
    ($rust:ident, $c:ident, { $($ours:ident = $theirs:ident),* }) => {
        static_assert!(size_of::<wire::$rust>() == size_of::<bindings::$c>());
        $(static_assert!(
            offset_of!(wire::$rust, $ours) == offset_of!(bindings::$c, $theirs)
        );)*
    };
}

same!(LuoSer, luo_ser, {
    compatible = compatible,
    liveupdate_num = liveupdate_num,
    sessions = sessions_pa,
    flbs = flbs_pa
});
same!(BlockHeader, kho_block_header_ser, {
    next = next,
    count = count
});
// Of a file set, only the session has one.
same!(SessionSer, luo_session_ser, {
    name = name,
    files = file_set_ser
});
static_assert!(
    offset_of!(wire::SessionSer, count)
        == offset_of!(bindings::luo_session_ser, file_set_ser.count)
);
same!(FileSer, luo_file_ser, {
    compatible = compatible,
    data = data,
    token = token
});
same!(FlbHeaderSer, luo_flb_header_ser, {
    pages = pgcnt,
    count = count
});
same!(FlbSer, luo_flb_ser, {
    name = name,
    data = data,
    count = count
});

static_assert!(SessionName::SIZE == bindings::LIVEUPDATE_SESSION_NAME_LENGTH as usize);
static_assert!(SessionName::SIZE == liveupdate_uapi::SESSION_NAME_LENGTH);
static_assert!(Compatible::SIZE == bindings::LIVEUPDATE_HNDL_COMPAT_LENGTH as usize);
static_assert!(Compatible::SIZE == bindings::LIVEUPDATE_FLB_COMPAT_LENGTH as usize);
