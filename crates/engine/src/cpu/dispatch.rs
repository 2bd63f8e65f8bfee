//! Which of its four forms of a kernel runs.

/// Compiles a generic kernel for each instruction set, and chooses among them.
macro_rules! kernels {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?);)*) => { $(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name(isa: $crate::cpu::simd::Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::cpu::simd::{Avx2, Avx512};
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $type),*) {
                    // SAFETY: this function's features are those of `Avx512`.
                    unsafe { generic::$name::<Avx512<false>>($($arg),*) }
                }
                #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx512_bf16($($arg: $type),*) {
                    // SAFETY: as above.
                    unsafe { generic::$name::<Avx512<true>>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $type),*) {
                    // SAFETY: this function's features are those of `Avx2`.
                    unsafe { generic::$name::<Avx2>($($arg),*) }
                }
                match isa {
                    // SAFETY: `Isa::detect` saw these features on this processor.
                    $crate::cpu::simd::Isa::Avx512Bf16 => return unsafe { avx512_bf16($($arg),*) },
                    // SAFETY: as above.
                    $crate::cpu::simd::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::cpu::simd::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::cpu::simd::Isa::Portable => {}
                }
            }
            let _ = isa;
            // SAFETY: `Portable` needs no features.
            unsafe { generic::$name::<$crate::cpu::simd::Portable>($($arg),*) }
        }
    )* };
}
