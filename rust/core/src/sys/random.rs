//! `getrandom(2)`.

use nix::errno::Errno;

/// A key that cannot be guessed. The kernel gives so few bytes whole or not at all.
pub(crate) fn key() -> Result<[u64; 2], Errno> {
    let mut key = [0; 2];
    loop {
        // SAFETY: `key` is writable for its size, and any bytes are words.
        let got = unsafe { libc::getrandom(key.as_mut_ptr().cast(), size_of_val(&key), 0) };
        if got == size_of_val(&key) as isize {
            return Ok(key);
        }
        match Errno::last() {
            Errno::EINTR => {}
            errno => return Err(errno),
        }
    }
}
