//! From a verdict for each system call to a program for the kernel.
//!
//! A tree, and not a list as the crate `seccompiler` makes it: when a filter is installed
//! the kernel follows it for each system call that there is, to know those that need no
//! look later. With a list of 500 instructions that took 350 microseconds a child, more
//! than all else that a connection costs.

/// What becomes of a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// It fails with EPERM.
    Deny,
    /// It is allowed if all conditions of one of these hold.
    If(Vec<Vec<Condition>>),
}

/// The verdicts of some system calls, each by its number and once, in any order. A map would
/// bring the library 40 KB of sorting.
pub(super) type Verdicts = Vec<(u32, Verdict)>;

/// Of the lower half of an argument: those from number 6 on are the upper halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u32,
    pub(super) mask: u32,
    pub(super) value: u32,
}

/// `AUDIT_ARCH_*`: the numbers of another machine's calls mean other calls.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// Places in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const GO: u32 = libc::BPF_JMP | libc::BPF_JA;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_NOT_LESS: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;

type Code = Vec<libc::sock_filter>;

fn step(code: u32, k: u32) -> libc::sock_filter {
    branch(code, k, 0, 0)
}

fn branch(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

fn deny() -> libc::sock_filter {
    step(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32)
}

/// The program: what is not among the verdicts is denied.
pub(super) fn assemble(verdicts: &[(u32, Verdict)]) -> Code {
    let mut code = vec![
        step(LOAD, ARCHITECTURE),
        branch(IF_EQUAL, ARCH, 1, 0),
        step(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, NUMBER),
    ];
    code.extend(tree(&ranges(verdicts)));
    code
}

/// Where each run of the same verdict begins.
fn ranges(verdicts: &[(u32, Verdict)]) -> Vec<(u32, &Verdict)> {
    let end = verdicts.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
    let mut ranges: Vec<(u32, &Verdict)> = Vec::new();
    for number in 0..=end {
        let found = verdicts.iter().find(|(other, _)| *other == number);
        let verdict = found.map_or(&Verdict::Deny, |(_, verdict)| verdict);
        if ranges.last().is_none_or(|(_, last)| *last != verdict) {
            ranges.push((number, verdict));
        }
    }
    ranges
}

fn tree(ranges: &[(u32, &Verdict)]) -> Code {
    if let [(_, verdict)] = ranges {
        return leaf(verdict);
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let start = above.first().map_or(0, |(start, _)| *start);
    let (below, above) = (tree(below), tree(above));
    let mut code = match u8::try_from(below.len()) {
        Ok(skip) => vec![branch(IF_NOT_LESS, start, skip, 0)],
        // Only this jump has room for a long way.
        Err(_) => vec![branch(IF_NOT_LESS, start, 0, 1), step(GO, below.len() as u32)],
    };
    code.extend(below);
    code.extend(above);
    code
}

fn leaf(verdict: &Verdict) -> Code {
    match verdict {
        Verdict::Allow => vec![step(RETURN, libc::SECCOMP_RET_ALLOW)],
        Verdict::Deny => vec![deny()],
        Verdict::If(alternatives) => {
            let mut code: Code = alternatives.iter().flat_map(|all| alternative(all)).collect();
            code.push(deny());
            code
        }
    }
}

/// Allows, or goes on behind itself.
fn alternative(all: &[Condition]) -> Code {
    let mut code = vec![step(RETURN, libc::SECCOMP_RET_ALLOW)];
    for condition in all.iter().rev() {
        let skip = code.len() as u8;
        let half = condition.argument / 6 * 4;
        let mut test = vec![step(LOAD, ARGUMENTS + condition.argument % 6 * 8 + half)];
        if condition.mask != u32::MAX {
            test.push(step(AND, condition.mask));
        }
        test.push(branch(IF_EQUAL, condition.value, 0, skip));
        test.extend(code);
        code = test;
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do.
    fn run(code: &[libc::sock_filter], number: u32, arguments: [u64; 6]) -> u32 {
        let load = |place: u32| match place {
            NUMBER => number,
            ARCHITECTURE => ARCH,
            place => {
                let argument = arguments[((place - ARGUMENTS) / 8) as usize];
                (argument >> (place % 8 * 8)) as u32
            }
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let libc::sock_filter { code, jt, jf, k } = code[at];
            at += 1;
            match u32::from(code) {
                LOAD => accumulator = load(k),
                AND => accumulator &= k,
                RETURN => return k,
                GO => at += k as usize,
                IF_EQUAL => at += usize::from(if accumulator == k { jt } else { jf }),
                IF_NOT_LESS => at += usize::from(if accumulator >= k { jt } else { jf }),
                other => panic!("{other}"),
            }
        }
    }

    fn expected(verdict: Option<&Verdict>, arguments: [u64; 6]) -> u32 {
        let holds = |condition: &Condition| {
            let argument = arguments[(condition.argument % 6) as usize];
            let half = if condition.argument < 6 { argument } else { argument >> 32 };
            half as u32 & condition.mask == condition.value
        };
        match verdict {
            Some(Verdict::Allow) => libc::SECCOMP_RET_ALLOW,
            Some(Verdict::If(all)) if all.iter().any(|all| all.iter().all(holds)) => {
                libc::SECCOMP_RET_ALLOW
            }
            _ => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        }
    }

    #[test]
    fn each_call_gets_its_verdict() {
        let condition = |argument, mask, value| Condition { argument, mask, value };
        let mut verdicts = Verdicts::new();
        for number in (0..7).chain(8..40).chain(100..110).chain((200..500).step_by(2)) {
            verdicts.push((number, Verdict::Allow));
        }
        let many = (0..20).map(|value| vec![condition(1, u32::MAX, value)]).collect();
        verdicts.push((7, Verdict::If(many)));
        let two = vec![condition(0, 4, 4), condition(2, u32::MAX, 0), condition(8, u32::MAX, 0)];
        verdicts.push((50, Verdict::If(vec![two])));
        let code = assemble(&verdicts);
        let mut tried = 0;
        for number in (0..600).chain([1 << 30, u32::MAX]) {
            for arguments in
                [[0; 6], [4, 19, 0, 0, 0, 0], [4, 20, 1 << 32, 0, 0, 0], [7, 3, 1, 0, 0, 0]]
            {
                let found = run(&code, number, arguments);
                assert_eq!(
                    found,
                    expected(
                        verdicts.iter().find(|(n, _)| *n == number).map(|(_, v)| v),
                        arguments
                    ),
                    "{number}"
                );
                tried += 1;
            }
        }
        assert_eq!(tried, 602 * 4);
    }

    #[test]
    fn another_machines_calls_end_the_process() {
        let code = assemble(&[]);
        assert_eq!((code[1].k, code[2].k), (ARCH, libc::SECCOMP_RET_KILL_PROCESS));
        assert_eq!(run(&code, 0, [0; 6]), libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    }
}
