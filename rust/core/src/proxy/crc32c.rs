//! CRC32c, the checksum of RFC 4960, Appendix B (Castagnoli's polynomial).

const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// Of the pieces, one behind the other.
pub(super) fn crc32c<const N: usize>(pieces: [&[u8]; N]) -> u32 {
    let step = |sum: u32, byte: &u8| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)];
    !pieces.into_iter().flatten().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_rfc_3720_come_out() {
        assert_eq!(crc32c([b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c([&[0; 32]]), 0x8a91_36aa);
        assert_eq!(crc32c([&[0xff; 32]]), 0x62a8_ab43);
        assert_eq!(crc32c([b"12345", b"", b"6789"]), 0xe306_9283);
        assert_eq!(crc32c([]), 0);
    }
}
