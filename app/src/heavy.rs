//! Work that takes long.

/// Works something out: in the browser at once; on the server so that other requests of its thread go on meanwhile
/// on another. What is worked out may use the reactive system, as it stays on this thread.
pub fn heavy<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(feature = "ssr")]
    {
        use tokio::runtime::{Handle, RuntimeFlavor};
        if Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread) {
            return tokio::task::block_in_place(work);
        }
    }
    work()
}
