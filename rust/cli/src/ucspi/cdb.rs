//! Constant databases, as tcprules and ipsvd-cdb make them.
//!
//! A file has 256 pairs of numbers (position and slots of a table), the records, and the
//! tables, whose slots are pairs of a hash and a record's position. Nothing is mapped into
//! memory: a file that becomes shorter is an error, and no signal.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(super) struct Cdb {
    file: File,
    size: u64,
}

/// The size of the first part.
const HEAD: u64 = 256 * 8;

impl Cdb {
    pub(super) fn open(path: &Path) -> io::Result<Cdb> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        if size < HEAD {
            return Err(malformed());
        }
        Ok(Cdb { file, size })
    }

    /// The first record with this key.
    pub(super) fn find(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let hash = key
            .iter()
            .fold(5381u32, |hash, byte| hash.wrapping_add(hash.wrapping_shl(5)) ^ u32::from(*byte));
        let (table, slots) = self.pair(u64::from(hash % 256) * 8)?;
        for slot in 0..slots {
            let slot = (hash / 256 % slots).wrapping_add(slot) % slots;
            let (its_hash, record) = self.pair(u64::from(table) + u64::from(slot) * 8)?;
            if record == 0 {
                break;
            }
            if its_hash != hash {
                continue;
            }
            let record = u64::from(record);
            let (key_length, length) = self.pair(record)?;
            let its_key = record + 8;
            if key_length as usize == key.len() && self.bytes(its_key, key_length)? == key {
                return self.bytes(its_key + u64::from(key_length), length).map(Some);
            }
        }
        Ok(None)
    }

    fn pair(&self, at: u64) -> io::Result<(u32, u32)> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at).map_err(short)?;
        let [a, b, c, d, e, f, g, h] = bytes;
        Ok((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
    }

    fn bytes(&self, at: u64, length: u32) -> io::Result<Vec<u8>> {
        // Before memory is asked for.
        if at + u64::from(length) > self.size {
            return Err(malformed());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(short)?;
        Ok(bytes)
    }
}

fn short(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => malformed(),
        _ => error,
    }
}

fn malformed() -> io::Error {
    io::Error::from_raw_os_error(libc::EPROTO)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A database with these records.
    pub(crate) fn make(name: &str, records: &[(&[u8], &[u8])]) -> PathBuf {
        let word = |number: usize| (number as u32).to_le_bytes();
        let mut tables: Vec<Vec<(u32, usize)>> = vec![Vec::new(); 256];
        let mut body = Vec::new();
        for (key, value) in records {
            let hash = key.iter().fold(5381u32, |h, b| h.wrapping_mul(33) ^ u32::from(*b));
            tables[(hash % 256) as usize].push((hash, HEAD as usize + body.len()));
            body.extend(word(key.len()).into_iter().chain(word(value.len())));
            body.extend(key.iter().chain(value.iter()));
        }
        let mut head = Vec::new();
        for table in &tables {
            head.extend(word(HEAD as usize + body.len()));
            head.extend(word(table.len() * 2));
            let mut slots = vec![(0u32, 0usize); table.len() * 2];
            for (hash, at) in table {
                let first = (*hash / 256) as usize % slots.len();
                let free = (0..slots.len()).map(|n| (first + n) % slots.len());
                let free = free.into_iter().find(|slot| slots[*slot].1 == 0).expect("a slot");
                slots[free] = (*hash, *at);
            }
            for (hash, at) in slots {
                body.extend(hash.to_le_bytes().into_iter().chain(word(at)));
            }
        }
        head.extend(body);
        let path = std::env::temp_dir().join(format!("forkserve-{}-{name}", std::process::id()));
        std::fs::write(&path, head).expect("written");
        path
    }

    #[test]
    fn every_record_is_found_and_no_other() {
        let keys: Vec<Vec<u8>> = (0..2000).map(|n| format!("10.0.{n}").into_bytes()).collect();
        let records: Vec<(&[u8], &[u8])> = keys.iter().map(|k| (&k[..], &k[2..])).collect();
        let path = make("records.cdb", &records);
        let cdb = Cdb::open(&path).expect("a database");
        for (key, value) in &records {
            assert_eq!(cdb.find(key).expect("read").as_deref(), Some(*value));
        }
        for key in [&b""[..], b"10.0.2000", b"11"] {
            assert_eq!(cdb.find(key).expect("read"), None);
        }
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn the_empty_key_and_the_empty_value_are_found() {
        let path = make("empty.cdb", &[(b"", b"all"), (b"x", b"")]);
        let cdb = Cdb::open(&path).expect("a database");
        assert_eq!(cdb.find(b"").expect("read").as_deref(), Some(&b"all"[..]));
        assert_eq!(cdb.find(b"x").expect("read").as_deref(), Some(&b""[..]));
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_spoilt_file_is_an_error() {
        let path = make("spoilt.cdb", &[(b"key", b"value")]);
        let whole = std::fs::read(&path).expect("read");
        let mut errors = 0;
        for length in (0..whole.len()).step_by(16).chain(HEAD as usize..whole.len()) {
            std::fs::write(&path, &whole[..length]).expect("written");
            match Cdb::open(&path).and_then(|cdb| cdb.find(b"key")) {
                Ok(found) => assert_eq!(found, None),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EPROTO));
                    errors += 1;
                }
            }
        }
        assert!(errors > 100);
        // Any single byte wrong: no panic, and no endless loop.
        for at in (0..whole.len()).step_by(8).chain(HEAD as usize..whole.len()) {
            let mut wrong = whole.clone();
            wrong[at] ^= 0xff;
            std::fs::write(&path, &wrong).expect("written");
            let _ = Cdb::open(&path).and_then(|cdb| cdb.find(b"key"));
        }
        std::fs::remove_file(path).expect("removed");
    }
}
