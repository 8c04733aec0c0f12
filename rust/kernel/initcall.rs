// SPDX-License-Identifier: GPL-2.0

//! Functions that run while the kernel boots, for code that is always built in.
//!
//! [`module!`](crate::module) has its own way in, which is too late for what others depend on.
//!
//! C header: [`include/linux/init.h`](srctree/include/linux/init.h)

/// Runs a function before the other processors are started.
///
/// The function takes nothing and returns [`Result`](crate::error::Result); the kernel ignores
/// errors of initcalls.
///
/// # Examples
///
/// ```
/// use kernel::sync::atomic::Relaxed;
///
/// mod example {
///     use kernel::{
///         prelude::*,
///         sync::atomic::{Atomic, Relaxed}, //
///     };
///
///     pub(super) static CALLS: Atomic<u32> = Atomic::new(0);
///
///     fn early_init() -> Result {
///         CALLS.fetch_add(1, Relaxed);
///         Ok(())
///     }
///     kernel::early_initcall!(early_init);
///
///     fn late_init() -> Result {
///         CALLS.fetch_add(1, Relaxed);
///         Err(EINVAL)
///     }
///     kernel::late_initcall!(late_init);
/// }
///
/// // Both ran while the kernel booted, and nobody minded the error.
/// assert_eq!(example::CALLS.load(Relaxed), 2);
/// # Ok::<(), Error>(())
/// ```
#[macro_export]
macro_rules! early_initcall {
    ($function:ident) => {
        $crate::define_initcall!(".initcallearly.init", $function);
    };
}

/// Runs a function after all built-in drivers are there, and before userspace is.
///
/// See [`early_initcall!`].
#[macro_export]
macro_rules! late_initcall {
    ($function:ident) => {
        $crate::define_initcall!(".initcall7.init", $function);
    };
}

/// What initcalls of all levels have in common.
#[doc(hidden)]
#[macro_export]
macro_rules! define_initcall {
    ($section:literal, $function:ident) => {
        // A module of the function's name: no two initcalls of a module collide.
        mod $function {
            #[link_section = ".init.text"]
            extern "C" fn initcall() -> $crate::ffi::c_int {
                $crate::error::from_result(|| super::$function().map(|()| 0))
            }

            #[cfg(CONFIG_HAVE_ARCH_PREL32_RELOCATIONS)]
            ::core::arch::global_asm!(
                concat!(".section \"", $section, "\", \"a\""),
                ".long {f} - .",
                ".previous",
                f = sym initcall,
            );

            #[cfg(not(CONFIG_HAVE_ARCH_PREL32_RELOCATIONS))]
            #[link_section = $section]
            #[used(compiler)]
            static INITCALL: extern "C" fn() -> $crate::ffi::c_int = initcall;
        }
    };
}

/// A `struct obs_kernel_param`, which C headers hide from modules and so from bindgen.
#[doc(hidden)]
#[repr(C)]
pub struct ObsKernelParam {
    /// Name of the parameter, NUL-terminated.
    pub name: *const crate::ffi::c_char,
    /// Takes the value, or null if there is none.
    pub setup: unsafe extern "C" fn(*mut crate::ffi::c_char) -> crate::ffi::c_int,
    /// Whether it is wanted before everything else.
    pub early: crate::ffi::c_int,
}

// SAFETY: It is never written to.
unsafe impl Sync for ObsKernelParam {}

/// Calls a function with the value of a kernel parameter, before anything else is set up.
///
/// The function takes `Option<&CStr>`, `None` if the parameter stands without `=`, and
/// returns [`Result`](crate::error::Result). Nothing can be allocated yet.
///
/// # Examples
///
/// ```
/// use kernel::sync::atomic::Relaxed;
///
/// mod example {
///     use kernel::{
///         prelude::*,
///         str::{kstrtobool, CStr},
///         sync::atomic::{Atomic, Relaxed}, //
///     };
///
///     pub(super) static IS_ON: Atomic<bool> = Atomic::new(false);
///
///     fn parse(value: Option<&CStr>) -> Result {
///         IS_ON.store(kstrtobool(value.ok_or(EINVAL)?)?, Relaxed);
///         Ok(())
///     }
///     kernel::early_param!("rust_doctest_initcall", parse);
/// }
///
/// // Nobody boots with `rust_doctest_initcall=on`.
/// assert!(!example::IS_ON.load(Relaxed));
/// # Ok::<(), Error>(())
/// ```
#[macro_export]
macro_rules! early_param {
    ($name:literal, $function:ident) => {
        mod $function {
            #[link_section = ".init.text"]
            unsafe extern "C" fn setup(value: *mut $crate::ffi::c_char) -> $crate::ffi::c_int {
                let value = if value.is_null() {
                    None
                } else {
                    // SAFETY: `parse_early_param` passes a NUL-terminated part of the command
                    // line, which stays for as long as setup functions run.
                    Some(unsafe {
                        <$crate::str::CStr as $crate::str::CStrExt>::from_char_ptr(value)
                    })
                };
                // For any lifetime: the command line goes away after boot.
                let function: for<'a> fn(Option<&'a $crate::str::CStr>) -> $crate::error::Result =
                    super::$function;
                $crate::error::from_result(|| function(value).map(|()| 0))
            }

            #[link_section = ".init.setup"]
            #[used(compiler)]
            static PARAM: $crate::initcall::ObsKernelParam = $crate::initcall::ObsKernelParam {
                name: $crate::str::as_char_ptr_in_const_context($crate::c_str!($name)),
                setup,
                early: 1,
            };
        }
    };
}
