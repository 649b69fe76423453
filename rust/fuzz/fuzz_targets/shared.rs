//! What children write for their parent to read: notes, names, the scoreboard,
//! the table of sources.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((which, data)) = data.split_first() else { return };
    match which % 4 {
        0 => core::fuzzing::note(data),
        1 => core::fuzzing::name(data),
        2 => core::fuzzing::board(data),
        _ => core::fuzzing::table(data),
    }
});
