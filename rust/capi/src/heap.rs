//! Making a large host cheap to fork.
#![allow(unsafe_code)]

/// Collapses this process's private anonymous memory into huge pages, so that a
/// large host is cheap to fork. It is meant for a host that cannot call
/// forkserve_server_start while it is small. Call it once everything is loaded,
/// before the first connection.
///
/// Returns how many bytes are in huge pages afterwards; 0 if the kernel is older
/// than 6.1 or has no memory to spare. Later writes of the host or a child undo the
/// gain, 2 MiB at a time. See madvise(2), MADV_COLLAPSE.
///
/// Context: parent. Blocks, up to some seconds per GiB.
/// Since: 0.1.
#[no_mangle]
pub extern "C" fn forkserve_prepare_heap() -> usize {
    core::prepare_heap()
}
