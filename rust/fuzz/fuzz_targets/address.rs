//! Addresses to listen at, as a program may get them from its command line.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| core::fuzzing::address(data));
