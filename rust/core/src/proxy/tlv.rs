//! What a block of version 2 says besides addresses: types, lengths and values.

use crate::proxy::Malformed;

pub(super) const CRC32C: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;
pub(super) const SSL: u8 = 0x20;

pub(super) const MOST_UNIQUE_ID: usize = 128;

/// The TLVs of a header: each a type and its value. It is an iterator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tlvs<'a>(&'a [u8]);

impl<'a> Tlvs<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Tlvs<'a> {
        Tlvs(bytes)
    }

    /// The value of the first one of this type.
    pub fn find(mut self, kind: u8) -> Option<&'a [u8]> {
        self.by_ref().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[kind, high, low], rest) = self.0.split_first_chunk::<3>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        self.0 = rest;
        Some((kind, value))
    }
}

/// Whether they fill the bytes to the last one.
pub(super) fn check(bytes: &[u8]) -> Result<(), Malformed> {
    let mut tlvs = Tlvs(bytes);
    while tlvs.next().is_some() {}
    match tlvs.0 {
        [] => Ok(()),
        _ => Err(Malformed::Form),
    }
}

/// The value of an SSL TLV: what is told of the client, and the TLVs in it.
pub(super) fn split_ssl(value: &[u8]) -> Option<([u8; 5], &[u8])> {
    value.split_first_chunk::<5>().map(|(head, nested)| (*head, nested))
}
